// Sorting of tables, as the sortable table of the W3C's ARIA Authoring Practices.
{
  function keyOf(cell) {
    const number = Number(cell.dataset.value || NaN);
    return Number.isNaN(number) ? cell.textContent.trim().toLowerCase() : number;
  }

  function sortBy(header) {
    const table = header.closest("table");
    const order = header.ariaSort === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);
    const direction = order === "ascending" ? 1 : -1;
    const isNumeric = [...table.tBodies[0].rows].some((row) => row.cells[header.cellIndex].dataset.value);
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: keyOf(row.cells[header.cellIndex]) }));
    // Of a numeric column, cells without a number come last in either order.
    const isMissing = ({ key }) => isNumeric && typeof key !== "number";
    rows.sort((one, other) => {
      if (isMissing(one) || isMissing(other)) return isMissing(one) - isMissing(other);
      return direction * ((one.key > other.key) - (one.key < other.key));
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const header of document.querySelectorAll(".sortable th[data-sort]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sortBy(header));
    }
  });
}
