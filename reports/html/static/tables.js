// Sorting, filtering and linking of the tables that name a view, and the downloads.
// The sort buttons follow the sortable table of the W3C's ARIA Authoring Practices.
// The address holds a view's state: #numbers?sort=difference&order=descending&show=pool
{
  const ORDERS = ["ascending", "descending"];
  const UNSORTED = { sort: "", order: "ascending" };
  const PAUSE_BEFORE_STATUS_MS = 700;
  let views = [];

  // A table with its rows in their original order, its controls and its state.
  function makeView(table) {
    const name = table.dataset.view;
    const tools = document.getElementById(`${name}-tools`);
    return {
      name,
      table,
      tools,
      rows: [...table.tBodies[0].rows].map((element) => ({ element, text: searchable(element) })),
      headers: [...table.tHead.rows[0].cells].filter((cell) => cell.dataset.sort),
      filter: tools.querySelector("input[type=search]"),
      coreOnly: tools.querySelector("input[type=checkbox]"),
      count: tools.querySelector(".count"),
      status: tools.querySelector(".counted"),
      lastStatus: "", // the last text in the live region
      timer: 0,
      none: tools.querySelector(".no-rows"),
      state: { ...UNSORTED, show: "", core: false },
    };
  }

  // The pieces of text that markup divides an element into.
  function textsOf(element) {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walker.nextNode()) texts.push(walker.currentNode.data.replace(/\s+/g, " ").trim());
    return texts.filter((text) => text).map((text) => text.toLowerCase());
  }

  // A search can have a hyphen where the page has a minus sign.
  function searchable(element) {
    return asTyped(textsOf(element).join(" "));
  }

  function asTyped(text) {
    return text.toLowerCase().replaceAll("\u2212", "-");
  }

  // ---- Sorting

  function addSortButton(view, header) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    const arrow = document.createElement("span");
    arrow.className = "arrow";
    arrow.setAttribute("aria-hidden", "true");
    button.append(...header.childNodes, arrow);
    header.append(button);
    button.addEventListener("click", () => change(view, nextOrder(view, header.dataset.sort)));
  }

  // Ascending, descending, then the original order.
  function nextOrder({ state }, sort) {
    if (state.sort !== sort) return { sort, order: "ascending" };
    return state.order === "ascending" ? { sort, order: "descending" } : UNSORTED;
  }

  // A cell that spans several columns is in each of them.
  function cellAt(row, column) {
    let end = 0;
    return [...row.cells].find((cell) => (end += cell.colSpan) > column);
  }

  // A column is numeric if any of its cells has a number; cells without one are missing values.
  function sortedRows({ rows, headers, state }) {
    const header = headers.find((cell) => cell.dataset.sort === state.sort);
    if (!header) return rows;
    const cells = rows.map((row) => cellAt(row.element, header.cellIndex));
    const isNumeric = cells.some((cell) => cell.dataset.value !== undefined);
    const keyed = rows.map((row, number) => ({ row, key: sortKey(cells[number], isNumeric) }));
    const direction = state.order === "descending" ? -1 : 1;
    const found = keyed.filter(({ key }) => key !== null);
    found.sort((one, other) => direction * ((one.key > other.key) - (one.key < other.key)));
    return [...found, ...keyed.filter(({ key }) => key === null)].map(({ row }) => row);
  }

  // The sort key: the number, or the first piece of text. Null, which is sorted last in either
  // direction, where there is none.
  function sortKey(cell, isNumeric) {
    if (!isNumeric) return textsOf(cell)[0] ?? null;
    const number = Number(cell.dataset.value || NaN);
    return Number.isNaN(number) ? null : number;
  }

  // ---- Showing a state

  function show(view) {
    const { table, rows, headers, filter, coreOnly, tools, state } = view;
    table.tBodies[0].append(...sortedRows(view).map((row) => row.element));
    for (const header of headers) {
      if (header.dataset.sort === state.sort) header.setAttribute("aria-sort", state.order);
      else header.removeAttribute("aria-sort");
    }
    const words = asTyped(state.show).split(/\s+/);
    for (const { element, text } of rows) {
      const isLeftOut = state.core && element.dataset.core === undefined;
      element.hidden = isLeftOut || !words.every((word) => text.includes(word));
    }
    const numShown = rows.filter(({ element }) => !element.hidden).length;
    showCount(view, numShown);
    tools.classList.toggle("narrowed", numShown < rows.length);
    // Setting a field's text moves its caret, so not while the reader types.
    if (filter.value !== state.show) filter.value = state.show;
    if (coreOnly) coreOnly.checked = state.core;
  }

  function showCount({ count, none, rows, state }, numShown) {
    setLiveText(count, `${numShown} of ${rows.length} rows`);
    none.hidden = numShown > 0;
    setLiveText(none.querySelector("span"), numShown ? "" : `No row contains \u201c${state.show.trim()}\u201d.`);
  }

  // Screen readers get one update after a pause, not one per letter.
  function updateStatus(view) {
    clearTimeout(view.timer);
    view.timer = setTimeout(() => {
      const words = countWords(view);
      if (words !== view.lastStatus) setLiveText(view.status, words);
      view.lastStatus = words;
    }, PAUSE_BEFORE_STATUS_MS);
  }

  function countWords({ count, none }) {
    return none.querySelector("span").textContent || count.textContent;
  }

  function change(view, changes) {
    Object.assign(view.state, changes);
    show(view);
    updateStatus(view);
    forgetLink(view);
    writeAddress(view);
  }

  // ---- The address

  // A view in an address: its name, and its state if it has any.
  function describe({ name, state }) {
    const query = new URLSearchParams();
    if (state.sort) {
      query.set("sort", state.sort);
      query.set("order", state.order);
    }
    if (state.show.trim()) query.set("show", state.show.trim());
    if (state.core) query.set("core", "only");
    return `${query}` ? `${name}?${query}` : name;
  }

  // The view that was changed last is first: the address leads there.
  function writeAddress(changed) {
    const others = views.filter((view) => view !== changed).map(describe);
    const parts = [describe(changed), ...others.filter((part) => part.includes("?"))];
    try {
      history.replaceState(history.state, "", `#${parts.join(";")}`);
    } catch {
      // Some browsers refuse many changes in a short time. The table is sorted anyway.
    }
  }

  // An ordinary anchor, without a state, changes no table.
  function readAddress(scroll) {
    const parts = location.hash.slice(1).split(";").map((part) => part.split(/\?(.*)/s, 2));
    for (const [name, query] of parts) {
      const view = views.find((view) => view.name === name);
      if (!view || query === undefined) continue;
      view.state = readState(view, new URLSearchParams(query));
      show(view);
      updateStatus(view);
      forgetLink(view);
    }
    const first = views.find((view) => view.name === parts[0][0]);
    if (first && location.hash !== `#${first.name}`) goTo(first, scroll);
  }

  // A state from an address, which is untrusted: invalid parts are ignored.
  function readState({ headers, coreOnly }, query) {
    const sort = query.get("sort");
    const order = query.get("order");
    return {
      sort: headers.some((header) => header.dataset.sort === sort) ? sort : "",
      order: ORDERS.includes(order) ? order : "ascending",
      show: query.get("show") ?? "",
      core: coreOnly !== null && query.get("core") === "only",
    };
  }

  // As an anchor: scroll to the section and move the keyboard focus there.
  function goTo(view, behavior) {
    const section = view.table.closest("section");
    section.tabIndex = -1;
    section.focus({ preventScroll: true });
    section.scrollIntoView({ behavior });
  }

  // A copied link is of an earlier view.
  function forgetLink({ tools }) {
    tools.querySelector(".link").hidden = true;
    setLiveText(tools.querySelector(".copied"), "");
  }

  async function copyLink(view) {
    const status = view.tools.querySelector(".copied");
    const field = view.tools.querySelector(".link");
    const link = `${location.href.split("#")[0]}#${describe(view)}`;
    try {
      await navigator.clipboard.writeText(link);
      field.hidden = true;
      setLiveText(status, "Link copied.");
    } catch {
      field.value = link;
      field.hidden = false;
      field.focus();
      field.select();
      setLiveText(status, "Copy the selected link.");
    }
  }

  // ---- Downloads

  // The lines of a CSV file, each a list of texts.
  function readCsv(text) {
    const lines = [[]];
    for (const [, quoted, plain, end] of text.matchAll(/(?:"([^"]*(?:""[^"]*)*)"|([^",\n]*))([,\n])/g)) {
      lines.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
      if (end === "\n") lines.push([]);
    }
    return lines.slice(0, -1);
  }

  // The same lines as objects: numbers as numbers, empty fields as null.
  function toJson({ csv, text_columns }) {
    const [columns, ...lines] = readCsv(csv);
    const objects = lines.map((line) =>
      Object.fromEntries(
        columns.map((column, number) => [
          column,
          line[number] === "" ? null : text_columns.includes(column) ? line[number] : Number(line[number]),
        ]),
      ),
    );
    return `[\n${objects.map((object) => JSON.stringify(object)).join(",\n")}\n]\n`;
  }

  function save(name, type, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    // Some browsers read the file only after the click.
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  function offerDownloads() {
    const downloads = document.getElementById("downloads");
    if (!downloads) return;
    const results = JSON.parse(document.getElementById("results-data").textContent);
    const [csv, json] = downloads.querySelectorAll("button");
    csv.addEventListener("click", () => save(`${results.name}.csv`, "text/csv", results.csv));
    json.addEventListener("click", () => save(`${results.name}.json`, "application/json", toJson(results)));
    downloads.hidden = false;
  }

  // ---- Begin

  function beginView(view) {
    const { table, headers, tools, filter, coreOnly, none } = view;
    for (const header of headers) addSortButton(view, header);
    table.caption.append(" (column headers with buttons sort the rows)");
    filter.addEventListener("input", () => change(view, { show: filter.value }));
    coreOnly?.addEventListener("change", () => change(view, { core: coreOnly.checked }));
    tools.querySelector(".copy").addEventListener("click", () => copyLink(view));
    none.querySelector("button").addEventListener("click", () => {
      change(view, { show: "" });
      filter.focus();
    });
    tools.hidden = false;
    show(view);
    view.lastStatus = countWords(view);
  }

  function startTables() {
    views = [...document.querySelectorAll("table[data-view]")]
      .filter((table) => table.tBodies[0].rows.length > 1)
      .map(makeView);
    views.forEach(beginView);
    readAddress("instant");
    addEventListener("hashchange", () => readAddress("auto"));
  }

  document.addEventListener("DOMContentLoaded", startTables);
  document.addEventListener("DOMContentLoaded", offerDownloads);
}
