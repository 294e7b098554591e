"use strict";
/* Plotly pictures as {data, layout}: functions of a curve (its columns by R), the index i of R and the colours. */
const DATA = JSON.parse(document.getElementById("data").textContent);
const EYE = {x: .5, y: -.9, z: .45}, DECADES = [1, 10, 100, 1000, 10000];

const subscript = n => String(n).replace(/\d/g, d => "₀₁₂₃₄₅₆₇₈₉"[d]);
const steps = n => [...Array(n).keys()];
const at = (column, i) => column === undefined ? null : column[column.length === 1 ? 0 : i];  // one value serves every R
const fixed = (x, digits = 3) => x === null ? "–" : x.toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "−");
const short = x => Number(x.toPrecision(4)).toLocaleString("en", {maximumSignificantDigits: 5});

function palette() {
  const style = getComputedStyle(document.documentElement);
  return new Proxy({}, {get: (_, name) => style.getPropertyValue("--" + name).trim()});
}

function frame(colour, layout) {
  const font = {family: getComputedStyle(document.body).fontFamily, size: 13, color: colour.text}, clear = "rgba(0,0,0,0)";
  return {paper_bgcolor: clear, plot_bgcolor: clear, font, showlegend: false, dragmode: false, margin: {l: 56, r: 24, t: 8, b: 44},
    hoverlabel: {bgcolor: colour.back, bordercolor: colour.line, font}, ...layout};
}

function axis(colour, options) {
  return {gridcolor: colour.grid, linecolor: colour.line, zerolinecolor: colour.line, fixedrange: true, ...options};
}

/* The class vectors, one row of W per class: W = axes diag(sigma). */
function classVectors(curve, i) {
  const sigma = ["sigma_AB", "sigma_A", "sigma_B"].map(name => at(curve[name], i));
  return DATA.axes.map(row => row.map((x, j) => x * sigma[j]));
}

function inSpace(curve, i, colour, camera) {
  const W = classVectors(curve, i);
  const inside = [...curve.sigma_A, ...curve.sigma_B].map(s => s * Math.SQRT1_2);  // the same box at every R
  const reach = 1.4 * Math.max(...inside, ...curve.sigma_AB.map(s => s / 2));
  const coordinates = vectors => Object.fromEntries(["x", "y", "z"].map((name, j) => [name, vectors.map(w => w[j])]));
  const fan = (group, first) => ({type: "mesh3d", name: "fan " + group, ...coordinates([[0, 0, 0], W[first], W[first + 1]]),
    i: [0], j: [1], k: [2], color: colour[group], opacity: .16, hoverinfo: "skip", lighting: {ambient: 1, diffuse: 0, specular: 0}});
  const arrow = (w, k) => {
    const group = k < 2 ? "A" : "B", name = "w" + subscript(k + 1);
    return {type: "scatter3d", mode: "lines+markers+text", name: "w" + (k + 1), ...coordinates([[0, 0, 0], w]),
      line: {color: colour[group], width: group === "A" ? 9 : 5},
      marker: {color: colour[group], size: [0, 9], symbol: group === "A" ? "square" : "diamond"},
      text: ["", name], textfont: {size: 15, color: colour[group]},
      textposition: (k % 2 ? "bottom" : "top") + " center",
      hovertemplate: `${name}, ${group === "A" ? "majority" : "minority"}<br>length ${fixed(at(curve["norm_" + group], i))}<extra></extra>`};
  };
  const hidden = {visible: false, range: [-reach, reach]};
  const scene = {xaxis: hidden, yaxis: hidden, zaxis: hidden, aspectmode: "cube", dragmode: "turntable", camera};
  return {data: [fan("A", 0), fan("B", 2), ...W.map(arrow)], layout: frame(colour, {margin: {l: 0, r: 0, t: 0, b: 0}, scene})};
}

/* The tiles of the cosines: one per class for few classes in two groups, else one per group (C: label pairs across). */
function tiles(curve, i, K) {
  const cosine = (g, h) => at(curve["cos_" + [g, h].sort().join("")], i), pairs = curve.norm_C !== undefined;
  const length = g => `length ${fixed(at(curve["norm_" + g], i), 2)}`;
  if (K <= 10 && !pairs) {
    const group = steps(K).map(k => k < K / 2 ? "A" : "B");
    return {names: group.map((_, k) => "w" + subscript(k + 1)), cut: K / 2 - .5, lengths: [length("A"), length("B")],
      z: group.map((g, a) => group.map((h, b) => a === b ? 1 : cosine(g, h)))};
  }
  const half = K / 2, words = pairs ? {A: "pairs in A", C: "pairs across", B: "pairs in B"} : {A: "majority A", B: "minority B"};
  const count = pairs ? {A: half * half, C: 2 * half * half, B: half * half} : {A: half, B: half}, order = Object.keys(words);
  return {names: order.map(g => `${words[g]}<br>${count[g].toLocaleString("en")}<br>${length(g)}`),
    z: order.map(g => order.map(h => cosine(g, h)))};
}

function gram(curve, i, K, colour) {
  const {names, z, cut, lengths} = tiles(curve, i, K), n = names.length, numbers = steps(n), classes = cut !== undefined;
  const cramped = n > 6 && document.getElementById("vectors").clientWidth < 480;
  const line = {type: "line", line: {color: colour.text, width: 2}};
  const shapes = classes ? [{...line, x0: cut, x1: cut, y0: -.5, y1: n - .5}, {...line, x0: -.5, x1: n - .5, y0: cut, y1: cut}] : [];
  const annotations = classes ? lengths.map((text, g) => ({showarrow: false, x: (g ? 3 : 1) * n / 4 - .5, yref: "paper", y: 1.01,
    yanchor: "bottom", text: `${g ? "B" : "A"}: ${text}`, font: {color: colour[g ? "B" : "A"]}})) : [];
  const ticks = {tickvals: numbers, ticktext: names, tickangle: 0, showgrid: false, zeroline: false, ticks: "", automargin: true, constrain: "domain"};
  const map = {type: "heatmap", name: "cosines", z, x: numbers, y: numbers, zmin: -1, zmax: 1, xgap: 2, ygap: 2, hoverongaps: false,
    colorscale: [[0, colour.low], [.5, colour.middle], [1, colour.high]], hovertemplate: "cosine %{z:.4f}<extra></extra>",
    text: z.map(row => row.map(c => fixed(c, classes ? 2 : 3))), texttemplate: cramped ? "" : "%{text}", textfont: {size: n > 6 ? 10 : 13},
    colorbar: {thickness: 10, outlinewidth: 0, tickvals: [-1, 0, 1], ticktext: ["−1", "0", "1"], len: .9}};
  return {data: [map], layout: frame(colour, {margin: {l: 10, r: 0, t: 26, b: 10}, shapes, annotations, xaxis: axis(colour, ticks),
    yaxis: axis(colour, {...ticks, autorange: "reversed", scaleanchor: "x"})})};
}

const LINES = [
  {column: "cos_AA", tone: "A", dash: "solid", symbol: "square", words: "inside A"},
  {column: "cos_AB", tone: "AB", dash: "dash", symbol: "circle", words: "A to B"},
  {column: "cos_BB", tone: "B", dash: "dot", symbol: "diamond", words: "inside B"},
  {column: "norm_A", tone: "A", dash: "solid", symbol: "square", words: "length in A", yaxis: "y2"},
  {column: "norm_B", tone: "B", dash: "dot", symbol: "diamond", words: "length in B", yaxis: "y2"},
];

/* The text beside a cursor over R0. */
function bracketed(curve) {
  const proof = curve.bracket_low === null ? "no bracket could be certified" : `certified between ${curve.bracket_low} and ${curve.bracket_high}`;
  return `R₀ = ${curve.R0_text}<br>${proof}<extra></extra>`;
}

function overR(curve, i, colour) {
  const R = DATA.R, annotations = [], top = 1.12 * Math.max(...curve.norm_A, ...curve.norm_B);
  const data = LINES.flatMap(({column, tone, dash, symbol, words, yaxis}) => {
    const y = R.map((_, j) => at(curve[column], j)), trace = {type: "scatter", yaxis: yaxis ?? "y"};
    return [{...trace, mode: "lines", name: words, x: R, y, line: {color: colour[tone], dash, width: 2.5}, showlegend: !yaxis,
        hovertemplate: `${yaxis ? "" : "cosine "}${words}: %{y:.4f}<br>R = %{x:.4~g}<extra></extra>`},
      {...trace, mode: "markers", name: words + " at R", x: [R[i]], y: [y[i]], showlegend: false, hoverinfo: "skip",
        marker: {color: colour[tone], symbol, size: 10, line: {color: colour.back, width: 1.5}}}];
  });
  if (curve.R0 !== null) {
    const line = {type: "scatter", mode: "lines", name: "R₀", x: steps(21).map(() => curve.R0), showlegend: false, hovertemplate: bracketed(curve),
      line: {color: colour.text, dash: "dashdot", width: 1.5}};  // many points, so that hovering works anywhere on the line
    data.push({...line, y: steps(21).map(k => -1.08 + k * .108)}, {...line, yaxis: "y2", y: steps(21).map(k => k * top / 20)});
    annotations.push({x: Math.log10(curve.R0), y: -1.06, yanchor: "bottom", xanchor: curve.R0 > 300 ? "right" : "left",
      showarrow: false, text: `R₀ = ${curve.R0_text}`});
  }
  const cursor = {type: "line", x0: R[i], x1: R[i], y0: 0, y1: 1, yref: "paper", line: {color: colour.soft, width: 1}};
  return {data, layout: frame(colour, {showlegend: true, legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom"},
    margin: {l: 56, r: 24, t: 34, b: 44}, annotations, shapes: [cursor],
    xaxis: axis(colour, {type: "log", range: [-.02, 4.02], tickvals: DECADES, tickformat: ",", ticklabeloverflow: "allow", anchor: "y2", title: {text: "imbalance R"}}),
    yaxis: axis(colour, {domain: [.36, 1], range: [-1.08, 1.08], tickvals: [-1, -.5, 0, .5, 1], title: {text: "cosine"}}),
    yaxis2: axis(colour, {domain: [0, .28], range: [0, top], nticks: 4, title: {text: "length"}})})};
}

/* laws: [{lam, curve}], one for each law of lambda, with lam null for Beta(1, 1). A program without lambda has one, with lam undefined. */
function overLambda(laws, chosen, R, colour) {
  const mixes = laws[0].lam !== undefined, beta = .58, position = law => mixes ? law.lam ?? beta : .31;  // Beta(1, 1) stands to the right
  const xaxis = axis(colour, {range: [0, .62], zeroline: false, tickangle: 0, title: {text: mixes ? "mixing ratio λ" : "λ has no effect"},
    tickvals: mixes ? [.1, .2, .3, .4, .5, beta] : [], ticktext: ["0.1", "0.2", "0.3", "0.4", "0.5", "Beta<br>(1, 1)"]});
  const yaxis = axis(colour, {type: "log", tickformat: ",~r", title: {text: "imbalance R"}});
  const note = {showarrow: false, xref: "paper", yref: "paper"}, known = laws.filter(law => law.curve.R0 !== null);
  if (!known.length) {
    const found = `the minority is ${laws[0].curve.collapsed_above ? "collapsed" : "not collapsed"} at any R${mixes ? ", for any λ" : ""}`;
    const text = laws.every(law => law.curve.certified) ? `no R₀: ${found}` : "R₀ is not certified";
    return {data: [], layout: frame(colour, {xaxis, yaxis: {...yaxis, range: [0, 4], tickvals: DECADES},
      annotations: [{...note, x: .5, y: .5, bgcolor: colour.back, borderpad: 4, text}]})};
  }
  const values = known.map(law => law.curve.R0), low = Math.min(...values) / 1.7, high = Math.max(...values) * 1.7;
  const line = mixes ? known.filter(law => law.lam !== null).map(law => ({x: law.lam, curve: law.curve})) : [0, .62].map(x => ({x, curve: known[0].curve}));
  const betaPoint = known.filter(law => law.lam === null).map(law => ({x: beta, curve: law.curve}));
  const trace = points => ({type: "scatter", x: points.map(p => p.x), y: points.map(p => p.curve.R0), text: points.map(p => bracketed(p.curve)),
    hovertemplate: "%{text}"});
  const law = laws[chosen] ?? laws[0], collapsed = law.curve.R0 !== null && (R > law.curve.R0) === law.curve.collapsed_above;
  const tone = colour[collapsed ? "B" : "A"], inView = Math.min(high / 1.06, Math.max(low * 1.06, R));
  const data = [
    {type: "scatter", mode: "lines", x: line.map(p => p.x), y: line.map(() => high), line: {width: 0}, hoverinfo: "skip"},
    {...trace(line), name: "R₀", mode: mixes ? "lines+markers" : "lines", fill: "tonexty", fillcolor: colour.B + "22",
      line: {color: colour.text, dash: "dashdot", width: 2}, marker: {color: colour.text, size: 7}},
    {...trace(betaPoint), name: "R₀ under Beta(1, 1)", mode: "markers", marker: {color: colour.text, symbol: "diamond", size: 9}},
    {type: "scatter", name: "current R", mode: "markers+text", x: [position(law)], y: [inView], text: [`  R = ${short(R)}  `],
      textposition: `${inView !== R ? "middle" : collapsed ? "top" : "bottom"} ${position(law) < .25 ? "right" : "left"}`,
      textfont: {color: tone}, hoverinfo: "skip", marker: {color: tone, size: 15, line: {color: colour.back, width: 2},
        symbol: R > high ? "triangle-up" : R < low ? "triangle-down" : "circle"}}];
  const region = {...note, x: .02, xanchor: "left"};
  return {data, layout: frame(colour, {xaxis, yaxis: {...yaxis, range: [Math.log10(low), Math.log10(high)],
      tickvals: DECADES.flatMap(d => [1, 1.5, 2, 3, 4, 5, 7].map(k => k * d))},
    annotations: [{...region, y: .97, text: "collapsed", font: {color: colour.B}}, {...region, y: .03, text: "not collapsed", font: {color: colour.A}}]})};
}
