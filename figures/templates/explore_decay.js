"use strict";
/* The second view: a method under weight decay, its spectrum beside the threshold of the collapse law, and networks. */
const DECAY = DATA.decays, HALF = 5;
const GROUPS = [
  {column: "r_A", tone: "A", dash: "solid", symbol: "square", words: "inside frequent"},
  {column: "s_AB", tone: "AB", dash: "dash", symbol: "circle", words: "between"},
  {column: "r_B", tone: "B", dash: "dot", symbol: "diamond", words: "inside rare"},
];
const MARKS = {penalties: "", balance: "-open", "CIFAR-10": "-open-dot"};

const decayCurve = (method = state.method) => DECAY.curves[`${method} ${DECAY.R[state.imbalance]}`];
const networksHere = () => DECAY.networks.filter(run => run.method === state.method && Math.abs(Math.log(run.R / DECAY.R[state.imbalance])) < .01);
const limit = (curve, group) => curve.thresholds === null ? null : curve.thresholds[group];  // group: 0 frequent, 1 rare

/* Position of the slider's decay among those of a curve, which has more near its thresholds. */
const place = curve => curve.mu.indexOf(DECAY.mu[state.mu]);

/* The networks whose decay is nearest to the slider's, if they are within half a step of it. */
function networksNear() {
  const mu = DECAY.mu[state.mu], half = Math.log(DECAY.mu[1] / DECAY.mu[0]) / 2, far = run => Math.abs(Math.log(run.mu / mu));
  const runs = networksHere().filter(run => run.kind === "penalties" && far(run) <= half);
  const nearest = Math.min(...runs.map(far));
  return runs.filter(run => far(run) - nearest < 1e-6);
}

function outcome(curve, j) {
  const rare = at(curve.collapsed, j), frequent = limit(curve, 0) === null ? curve.r_A[j] < 1e-6 : curve.mu[j] >= limit(curve, 0);
  if (rare === null) return "undecided";
  return rare ? frequent ? "both collapsed" : "rare collapsed" : frequent ? "frequent collapsed" : "not collapsed";
}

/* Lengths and cosines of the centred class vectors follow from the three singular values. */
function geometry(curve, j) {
  const [a, s, b] = GROUPS.map(({column}) => curve[column][j] ** 2), between = s / (2 * HALF);
  const length = own => Math.sqrt(own * (HALF - 1) / HALF + between), cosine = own => (between - own / HALF) / length(own) ** 2;
  const known = own => length(own) > 1e-6 ? cosine(own) : null;
  return {lengths: [length(a), length(b)], cosines: [known(a), known(b)], across: length(a) > 1e-6 && length(b) > 1e-6 ? -between / length(a) / length(b) : null};
}

function decaySentence(curve, j) {
  const mu = short(curve.mu[j]), [A, B] = [0, 1].map(group => limit(curve, group));
  const words = {"not collapsed": "both groups keep their classes apart", "rare collapsed": "rare classes have collapsed: their class vectors are one and the same",
    "frequent collapsed": "frequent classes have collapsed: their class vectors are one and the same", "both collapsed": "classes have collapsed inside both groups",
    undecided: "rare classes may be collapsed or not: the certificate leaves it open"}[outcome(curve, j)];
  const law = A === null ? "The collapse law does not apply to margins, so this method has no threshold in closed form."
    : `Rare classes collapse from μ = ${short(B)} on, frequent ones from μ = ${short(A)} on.`;
  return `With ${state.method} at μ = ${mu} and R = ${DECAY.R[state.imbalance]}, ${words}. ${law} Every optimum is certified to a relative gap of ${curve.gap} or less.`;
}

function decayNumbers(curve, j) {
  const {lengths, cosines, across} = geometry(curve, j), runs = networksNear(), mean = name => runs.reduce((sum, run) => sum + run[name], 0) / runs.length;
  const rows = [
    ...GROUPS.map(({column, words}) => [`singular value ${words}`, fixed(curve[column][j], 4)]),
    ["threshold of frequent, of rare classes", curve.thresholds === null ? "no law" : curve.thresholds.map(short).join(", ")],
    ["length of a frequent, of a rare class vector", lengths.map(x => fixed(x)).join(", ")],
    ["cosine inside frequent, inside rare classes", cosines.map(x => fixed(x)).join(", ")], ["cosine across the groups", fixed(across)],
  ];
  if (!runs.length) return [...rows, ["networks near this μ", "none"]];
  return [...rows, [`${runs.length} network${runs.length > 1 ? "s" : ""} at μ = ${short(runs[0].mu)}: singular values`, GROUPS.map(({column}) => fixed(mean(column))).join(", ")],
    ["their accuracy on frequent, on rare classes", `${fixed(mean("many"), 1)} %, ${fixed(mean("few"), 1)} %`]];
}

function spectrum(curve, j, colour) {
  const mu = curve.mu[j], x = steps(9).map(k => k + 1), own = [0, 0, 0, 0, 1, 2, 2, 2, 2].map(k => GROUPS[k]);
  const value = ({words}) => `${words}<br>singular value %{y:.4f}<extra></extra>`;
  const bars = {type: "bar", name: "spectrum", x, y: own.map(({column}) => curve[column][j]), hovertemplate: own.map(value), showlegend: false,
    marker: {color: own.map(({tone}) => colour[tone]), pattern: {shape: own.map(({tone}) => tone === "B" ? "/" : ""), fillmode: "overlay", fgcolor: colour.back, size: 7}}};
  const points = networksNear().map(run => ({type: "scatter", mode: "markers", name: `network, seed ${run.seed}`, x, y: run.spectrum, showlegend: false,
    marker: {color: colour.text, symbol: "circle-open", size: 8, line: {width: 2}},
    hovertemplate: `network, seed ${run.seed}, μ = ${short(run.mu)}<br>singular value %{y:.4f}<extra></extra>`}));
  const note = {showarrow: false, xref: "paper", x: 1, xanchor: "right"}, annotations = [];
  const top = 1.05 * Math.max(...GROUPS.flatMap(({column}) => curve[column]), ...points.flatMap(({y}) => y));  // the same at every mu
  if (points.length) annotations.push({...note, yref: "paper", y: 1.02, yanchor: "bottom", text: `○ networks at μ = ${short(networksNear()[0].mu)}`});
  const roots = curve.thresholds === null ? [] : [0, 1].map(g => ({type: "bar", name: `root of the collapse number, ${g ? "rare" : "frequent"}`, yaxis: "y2", showlegend: false,
    x: x.slice(5 * g, 5 * g + 4), y: Array(4).fill(limit(curve, g)), hovertemplate: `${g ? "rare" : "frequent"} classes: √c = %{y:.4~g}<extra></extra>`,
    marker: {color: colour[g ? "B" : "A"], opacity: limit(curve, g) > mu ? .9 : .25, pattern: {shape: g ? "/" : "", fillmode: "overlay", fgcolor: colour.back, size: 7}}}));
  const line = {type: "scatter", mode: "lines", name: "threshold", yaxis: "y2", x: [.4, 9.6], y: [mu, mu], showlegend: false, hovertemplate: "μ = %{y:.4~g}<extra></extra>",
    line: {color: colour.text, dash: "dashdot", width: 2}};
  const [low, high] = [Math.min(mu, ...(curve.thresholds ?? [])) / 2.5, Math.max(mu, ...(curve.thresholds ?? [])) * 2];
  annotations.push({...note, xref: "x", x: 5, xanchor: "center", yref: "y2", y: Math.log10(mu), yanchor: "bottom", text: `μ = ${short(mu)}`});
  if (!roots.length) annotations.push({...note, xref: "x", x: 5, xanchor: "center", yref: "y2 domain", y: .1, text: "no law for margins"});
  return {data: [bars, ...points, ...roots, line], layout: frame(colour, {margin: {l: 56, r: 12, t: 26, b: 40}, annotations, bargap: .25, barmode: "overlay",
    xaxis: axis(colour, {range: [.4, 9.6], tickvals: [2.5, 5, 7.5], ticktext: ["frequent", "between", "rare"], tickangle: 0, anchor: "y2", showgrid: false, zeroline: false}),
    yaxis: axis(colour, {domain: [.47, 1], range: [0, top], title: {text: "singular value"}}),
    yaxis2: axis(colour, {domain: [0, .37], type: "log", range: [Math.log10(low), Math.log10(high)], tickformat: ".2~r", nticks: 4, title: {text: "√c, and μ"}})})};
}

function overDecay(curve, j, colour) {
  const inView = run => run.mu >= DECAY.mu[0] && run.mu <= DECAY.mu.at(-1);
  const runs = networksHere().filter(inView), data = [], shapes = [], annotations = [];
  for (const [g, {column, tone, dash, symbol, words}] of GROUPS.entries()) {
    const root = g === 1 ? null : limit(curve, g / 2), line = curve.mu.map((mu, k) => [mu, curve[column][k]]);
    if (root !== null) line.push([root, 0]);  // exactly there, by the law
    line.sort((p, q) => p[0] - q[0]);
    data.push({type: "scatter", mode: "lines", name: words, x: line.map(p => p[0]), y: line.map(p => p[1]), line: {color: colour[tone], dash, width: 2.5},
      hovertemplate: `${words}: %{y:.4f}<br>μ = %{x:.4~g}<extra></extra>`},
    {type: "scatter", mode: "markers", name: words + " at μ", x: [curve.mu[j]], y: [curve[column][j]], showlegend: false, hoverinfo: "skip",
      marker: {color: colour[tone], symbol, size: 11, line: {color: colour.back, width: 1.5}}});
    data.push({type: "scatter", mode: "markers", name: "networks, " + words, showlegend: false, x: runs.map(run => run.mu), y: runs.map(run => run[column]),
      text: runs.map(run => `network, seed ${run.seed}<br>accuracy: frequent ${fixed(run.many, 1)} %, rare ${fixed(run.few, 1)} %`),
      hovertemplate: `${words}: %{y:.4f}<br>μ = %{x:.4~g}<br>%{text}<extra></extra>`,
      marker: {color: colour[tone], symbol: runs.map(run => symbol + MARKS[run.kind]), size: 7, line: {width: runs.map(run => MARKS[run.kind] ? 1.5 : 0)}}});
    if (root !== null && root >= DECAY.mu[0] && root <= DECAY.mu.at(-1)) {
      shapes.push({type: "line", x0: root, x1: root, y0: 0, y1: 1, yref: "paper", line: {color: colour[tone], dash: "dashdot", width: 1.5}});
      annotations.push({showarrow: false, x: Math.log10(root), y: 1, yref: "paper", yanchor: "top", xanchor: g || root > .2 ? "right" : "left", text: ` ${short(root)} `, font: {color: colour[tone]}});
    }
  }
  shapes.push({type: "line", x0: curve.mu[j], x1: curve.mu[j], y0: 0, y1: 1, yref: "paper", line: {color: colour.soft, width: 1}});
  return {data, layout: frame(colour, {showlegend: true, legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom"}, margin: {l: 48, r: 16, t: 34, b: 44}, annotations, shapes,
    xaxis: axis(colour, {type: "log", range: [Math.log10(DECAY.mu[0]) - .02, Math.log10(DECAY.mu.at(-1)) + .02], tickvals: [.01, .02, .05, .1, .2, .4], ticks: "outside", title: {text: "weight decay μ"}}),
    yaxis: axis(colour, {rangemode: "tozero", title: {text: "singular value"}})})};
}

/* All methods as a list, with the decays at which their groups collapse. A filled mark: the group is not collapsed at mu. */
function allMethods(mu, colour) {
  const names = DECAY.methods, roots = names.map(name => decayCurve(name).thresholds), known = names.filter((_, k) => roots[k] !== null);
  const all = roots.flat().filter(root => root !== null), low = Math.min(mu, ...all) / 1.4, high = Math.max(mu, ...all) * 1.4;
  const links = {type: "scatter", mode: "lines", x: roots.flatMap(pair => [...(pair ?? [null, null]), null]), y: names.flatMap(name => [name, name, null]),
    line: {color: colour.line, width: 2}, hoverinfo: "skip", showlegend: false};
  const marks = [["frequent", "A", "square"], ["rare", "B", "diamond"]].map(([words, tone, symbol], g) => {
    const x = known.map(name => limit(decayCurve(name), g));
    return {type: "scatter", mode: "markers", name: `${words} classes`, x, y: known, hovertemplate: `%{y}: ${words} classes collapse from μ = %{x:.4~g} on<extra></extra>`,
      marker: {color: colour[tone], symbol: x.map(root => root > mu ? symbol : symbol + "-open"), size: 10, line: {width: 1.5, color: colour[tone]}}};
  });
  const unknown = names.filter(name => !known.includes(name)).map(name => ({showarrow: false, xref: "paper", x: .02, xanchor: "left", y: name, text: "no law for margins", bgcolor: colour.back, font: {color: colour.soft}}));
  return {data: [links, ...marks], layout: frame(colour, {showlegend: true, legend: {orientation: "h", x: 0, y: 1.01, yanchor: "bottom"}, margin: {l: 8, r: 16, t: 34, b: 44},
    annotations: unknown, shapes: [{type: "line", x0: mu, x1: mu, y0: 0, y1: 1, yref: "paper", line: {color: colour.text, dash: "dashdot", width: 1.5}}],
    xaxis: axis(colour, {type: "log", range: [Math.log10(low), Math.log10(high)], tickvals: [.01, .02, .05, .1, .2, .5, 1, 2], ticks: "outside", title: {text: "collapse from μ on"}}),
    yaxis: axis(colour, {automargin: true, autorange: "reversed", tickvals: names, ticktext: names.map(name => {
      const safe = name.replace("<", "&lt;");
      return name === state.method ? `<b>${safe}</b>` : safe;
    })})})};
}

function showDecay() {
  const curve = decayCurve(), j = place(curve), mu = short(curve.mu[j]), R = DECAY.R[state.imbalance], said = outcome(curve, j);
  for (const id of ["method", "imbalance", "mu"]) $(id).value = state[id];
  for (const [id, text, spoken] of [["imbalance", R, R], ["mu", mu, `μ = ${mu}, ${said}`]]) {
    $(id + "-value").textContent = text, $(id).setAttribute("aria-valuetext", spoken);
  }
  $("decay-state").textContent = said, $("decay-state").className = "state" + (said.endsWith(" collapsed") && said !== "not collapsed" ? " collapsed" : "");
  const [low, high] = [DECAY.mu[0], DECAY.mu.at(-1)].map(Math.log), root = limit(curve, 1), share = root === null ? -1 : (Math.log(root) - low) / (high - low);
  $("mu-tick").hidden = !(share >= 0 && share <= 1);
  $("mu-tick").style.left = `calc(7px + ${share} * (100% - 16px))`, $("mu-tick").className = "tick" + (share > .6 ? " right" : "");
  $("mu-tick").firstElementChild.textContent = root === null ? "" : `rare collapse: ${short(root)}`;
  $("decay-sentence").textContent = decaySentence(curve, j);
  $("decay-numbers").replaceChildren(...decayNumbers(curve, j).map(([head, value]) => element("tr", [element("th", head, {scope: "row"}), element("td", value)])));
  $("decay-command").replaceChildren(line(["python -m lpm.cures", `--K ${2 * HALF}`, `--R ${R}`, `--decay ${curve.mu[j]}`, "--bias", `--cure "${state.method}"`]), line(["python -m figures law"]));
}

function drawDecay(colour) {
  const curve = decayCurve(), j = place(curve), words = $("decay-sentence").textContent;
  put("spectrum", spectrum(curve, j, colour), "Spectrum of the class vectors", words);
  put("over-decay", overDecay(curve, j, colour), "Singular values against weight decay", words);
  put("methods", allMethods(curve.mu[j], colour), "Every method at this imbalance", words);
}
