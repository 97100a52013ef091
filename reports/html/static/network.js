// Runs the study's trained networks: the steps of mnist_blocks/folding.py, in plain loops.
//
// Memory layout as in PyTorch: channel by channel, row by row. Values are stored in single precision
// and summed in double precision, so the logits differ from PyTorch's by rounding only.

// A network ready to run: decoded weights, and an output array per layer.
function prepareNetwork(description) {
  const numbers = decodeFloats(description.weights);
  let next = 0;
  function take(count) {
    next += count;
    return numbers.subarray(next - count, next);
  }
  const layers = description.layers.map((layer) => {
    const hasWeights = ["conv", "linear", "scale"].includes(layer.kind);
    const inputsPerOutput = layer.kind === "scale" ? 1 : layer.in_channels * layer.kernel ** 2;
    return {
      ...layer,
      weight: take(hasWeights ? layer.out_channels * inputsPerOutput : 0),
      bias: take(hasWeights ? layer.out_channels : 0),
      output: new Float32Array(layer.out_channels * layer.out_side ** 2),
    };
  });
  return { ...description, weights: null, layers };
}

// The output for a picture of 784 numbers from 0 (black) to 1 (white). The values of a stage are those
// of its last layer; the next run overwrites them.
function runNetwork(network, pixels) {
  let values = pixels.map((pixel) => (pixel - network.mean) / network.std);
  const stages = new Map();
  for (const layer of network.layers) {
    networkSteps[layer.kind](layer, values);
    values = layer.output;
    const [name] = layer.name.split(".");
    stages.set(name, { name, channels: layer.out_channels, side: layer.out_side, values });
  }
  stages.delete("head");
  return { logits: values, probabilities: softmax(values), stages: [...stages.values()] };
}

// Each kind of step reads its input and fills `layer.output`.
const networkSteps = {
  conv: convolve,
  linear({ weight, bias, output }, values) {
    for (let row = 0; row < output.length; row++) {
      let sum = bias[row];
      for (let column = 0; column < values.length; column++) {
        sum += weight[row * values.length + column] * values[column];
      }
      output[row] = sum;
    }
  },
  scale({ weight, bias, output, in_side }, values) {
    const area = in_side * in_side;
    for (let i = 0; i < values.length; i++) {
      const channel = Math.floor(i / area);
      output[i] = weight[channel] * values[i] + bias[channel];
    }
  },
  relu({ output }, values) {
    for (let i = 0; i < values.length; i++) {
      output[i] = Math.max(values[i], 0);
    }
  },
  maxpool({ output, in_side, out_side, kernel }, values) {
    for (let i = 0; i < output.length; i++) {
      const channel = Math.floor(i / out_side ** 2);
      const row = (Math.floor(i / out_side) % out_side) * kernel;
      const column = (i % out_side) * kernel;
      let largest = -Infinity;
      for (let y = row; y < row + kernel; y++) {
        for (let x = column; x < column + kernel; x++) {
          largest = Math.max(largest, values[(channel * in_side + y) * in_side + x]);
        }
      }
      output[i] = largest;
    }
  },
  mean({ output, in_side }, values) {
    const area = in_side * in_side;
    for (let channel = 0; channel < output.length; channel++) {
      let sum = 0;
      for (let i = channel * area; i < (channel + 1) * area; i++) {
        sum += values[i];
      }
      output[channel] = sum / area;
    }
  },
};

// Each output channel is its bias plus, for each input channel, the convolution of that plane.
function convolve(layer, values) {
  const { weight, bias, output, in_channels, out_channels, out_side, kernel } = layer;
  const addPlane = kernel === 3 ? addPlane3x3 : addPlaneOfAnyKernel;
  const padded = padPlanes(layer, values);
  const sums = new Float64Array(out_side ** 2);
  for (let outChannel = 0; outChannel < out_channels; outChannel++) {
    sums.fill(bias[outChannel]);
    for (let inChannel = 0; inChannel < in_channels; inChannel++) {
      const firstWeight = (outChannel * in_channels + inChannel) * kernel ** 2;
      addPlane(sums, layer, padded, inChannel, weight.subarray(firstWeight, firstWeight + kernel ** 2));
    }
    output.set(sums, outChannel * sums.length);
  }
}

// Zeros around each plane, so that windows at the border need no special case.
function padPlanes({ in_channels, in_side, padding }, values) {
  const side = in_side + 2 * padding;
  const padded = new Float64Array(in_channels * side * side);
  for (let row = 0; row < in_channels * in_side; row++) {
    const channel = Math.floor(row / in_side);
    const start = (channel * side + (row % in_side) + padding) * side + padding;
    padded.set(values.subarray(row * in_side, (row + 1) * in_side), start);
  }
  return padded;
}

function addPlaneOfAnyKernel(sums, { in_side, out_side, kernel, stride, padding }, padded, channel, weight) {
  const side = in_side + 2 * padding;
  for (let i = 0; i < sums.length; i++) {
    const row = channel * side + Math.floor(i / out_side) * stride;
    const start = row * side + (i % out_side) * stride;
    for (let k = 0; k < weight.length; k++) {
      sums[i] += weight[k] * padded[start + Math.floor(k / kernel) * side + (k % kernel)];
    }
  }
}

// Nearly all time is spent here; unrolled, it takes less than half.
function addPlane3x3(sums, { in_side, out_side, stride, padding }, padded, channel, weight) {
  const [a, b, c, d, e, f, g, h, i] = weight;
  const side = in_side + 2 * padding;
  let out = 0;
  for (let row = 0; row < out_side; row++) {
    let top = (channel * side + row * stride) * side;
    for (let column = 0; column < out_side; column++) {
      const middle = top + side;
      const bottom = middle + side;
      sums[out++] +=
        a * padded[top] + b * padded[top + 1] + c * padded[top + 2] +
        d * padded[middle] + e * padded[middle + 1] + f * padded[middle + 2] +
        g * padded[bottom] + h * padded[bottom + 1] + i * padded[bottom + 2];
      top += stride;
    }
  }
}

// Logits to probabilities. Subtracting the largest changes nothing, and keeps `exp` finite.
function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

function decodeBytes(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = characters.charCodeAt(i);
  }
  return bytes;
}

// The upper three bytes of single precision, little-endian whatever the reader's machine has.
function decodeFloats(text) {
  const bytes = decodeBytes(text);
  const bits = new Uint32Array(bytes.length / 3);
  for (let i = 0; i < bits.length; i++) {
    bits[i] = (bytes[3 * i] << 8) | (bytes[3 * i + 1] << 16) | (bytes[3 * i + 2] << 24);
  }
  return new Float32Array(bits.buffer);
}
