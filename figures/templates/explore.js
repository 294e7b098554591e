"use strict";
/* The controls, the sentence and the numbers below them, and the address that holds the view. */
const $ = id => document.getElementById(id);
const VIEWS = ["budgets", "decay"];
const state = {view: "budgets", program: "fc", profile: "product", K: 0, lam: DATA.laws.length - 2, R: 0, look: "3d",  // K, lam, R: positions of their sliders; R is set in start()
  method: DECAY.methods.includes("mixup") ? "mixup" : DECAY.methods[0], imbalance: DECAY.R.indexOf(10), mu: 0};  // and so are imbalance and mu, which is set there, too
let plotly = null, webgl = true, camera = {eye: EYE}, drawing = 0, writing = 0;

const program = () => DATA.programs.find(p => p.name === state.program) ?? DATA.programs[0];
const profile = () => program().name === "plain" ? "-" : state.profile;
const curveAt = lam => DATA.curves[[program().name, profile(), DATA.K[state.K], program().mixes ? DATA.laws[lam].label : "-"].join(" ")];
const nearest = (values, x) => values.reduce((best, v, i) => Math.abs(v - x) < Math.abs(values[best] - x) ? i : best, 0);

function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1)), law = DATA.laws.findIndex(l => l.label === words.get("lam"));
  if (DATA.programs.some(p => p.name === words.get("program"))) state.program = words.get("program");
  if (DATA.profiles.some(p => p.name === words.get("profile"))) state.profile = words.get("profile");
  if (Number(words.get("K")) > 0) state.K = nearest(DATA.K, Number(words.get("K")));
  if (law >= 0) state.lam = law;
  if (Number(words.get("R")) > 0) state.R = nearest(DATA.R.map(Math.log), Math.log(Number(words.get("R"))));
  if (["3d", "gram"].includes(words.get("look"))) state.look = words.get("look");
  if (VIEWS.includes(words.get("view"))) state.view = words.get("view");
  if (DECAY.methods.includes(words.get("method"))) state.method = words.get("method");
  for (const [name, values] of [["imbalance", DECAY.R], ["mu", DECAY.mu]]) {
    if (Number(words.get(name)) > 0) state[name] = nearest(values.map(Math.log), Math.log(Number(words.get(name))));
  }
}

function writeAddress() {  // not at every step of a dragged slider: browsers limit how often the address may change
  clearTimeout(writing);
  writing = setTimeout(() => {
    const numbers = {K: DATA.K[state.K], lam: DATA.laws[state.lam].label, R: DATA.R[state.R], imbalance: DECAY.R[state.imbalance], mu: DECAY.mu[state.mu]};
    history.replaceState(null, "", "#" + new URLSearchParams({...state, ...numbers}));
  }, 200);
}

function element(tag, content, attributes = {}) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...[content].flat());
  return node;
}

function fill() {
  for (const [id, list] of [["program", DATA.programs], ["profile", DATA.profiles]]) {
    $(id).append(...list.map(({name, words}) => element("option", words, {value: name})));
  }
  $("method").append(...DECAY.methods.map(name => element("option", name, {value: name})));
  $("imbalance").max = DECAY.R.length - 1, $("mu").max = DECAY.mu.length - 1;
  $("K").max = DATA.K.length - 1, $("lam").max = DATA.laws.length - 1, $("R").max = DATA.R.length - 1;
  document.querySelectorAll("#R-bar .decades span").forEach((span, k) => { span.style.left = 25 * k + "%"; });
}

const OUTCOMES = new Map([[true, "collapsed"], [false, "not collapsed"], [null, "undecided"]]);

/* Shortly before the threshold of rare classes. */
const interestingDecay = () => nearest(DECAY.mu.map(Math.log), Math.log(.9 * (limit(decayCurve(), 1) ?? .1)));

/* Shortly before R0, where the minority's class vectors are close but apart. */
function interesting() {
  const R0 = curveAt(state.lam).R0 ?? 100;
  return nearest(DATA.R.map(Math.log), Math.log(R0 / 3));
}

function showControls(curve) {
  const p = program(), law = DATA.laws[state.lam], R = short(DATA.R[state.R]), outcome = OUTCOMES.get(at(curve.collapsed, state.R));
  for (const id of ["program", "profile", "K", "lam", "R"]) $(id).value = state[id];
  $("profile").disabled = p.name === "plain", $("lam").disabled = !p.mixes;
  for (const option of $("profile").options) option.disabled = p.name !== "plain" && !p.profiles.includes(option.value);
  const say = (id, text, spoken) => { $(id + "-value").textContent = text, $(id).setAttribute("aria-valuetext", spoken ?? text); };
  say("K", DATA.K[state.K]);
  if (p.mixes) say("lam", law.lam === null ? "Beta(1, 1)" : law.label); else say("lam", "–", "has no effect");
  say("R", R, `R = ${R}, ${outcome}`);
  $("state").textContent = outcome, $("state").className = outcome === "collapsed" ? "state collapsed" : "state";
  $("R0-tick").hidden = curve.R0 === null;
  if (curve.R0 !== null) {
    const share = Math.log10(curve.R0) / 4;
    $("R0-tick").style.left = `calc(7px + ${share} * (100% - 16px))`, $("R0-tick").className = share > .8 ? "tick right" : "tick";
    $("R0-tick").firstElementChild.textContent = `R₀ = ${curve.R0_text}`;
  }
  const space = curve.sigma_B !== undefined && webgl;
  for (const part of $("look").children) part.hidden = (part.id === "only-cosines") === space;
  $("turn-label").hidden = !space || state.look !== "3d";
  for (const radio of document.getElementsByName("look")) radio.checked = radio.value === state.look;
}

const bracket = (curve, between) => curve.bracket_low === null ? "" : between(curve.bracket_low, curve.bracket_high);

function sentence(curve) {
  const K = DATA.K[state.K], R = short(DATA.R[state.R]), pairs = program().name === "ms-free", cosine = at(curve.cos_BB, state.R);
  const vectors = pairs ? `${((K / 2) ** 2).toLocaleString("en")} label pairs’ class vectors` : `${K / 2} class vectors`;
  const apart = `has not collapsed: its ${vectors} are apart` + (cosine === null ? "" : `, ${K === 4 && !pairs ? "" : "any two of them "}at cosine ${fixed(cosine)}`);
  const together = `has collapsed: its ${vectors} ` + (cosine === null ? "coincide, at length 0 to the solver’s accuracy" : "are one and the same vector");
  const minority = new Map([[true, together], [false, apart], [null, "may be collapsed or not: the certificate leaves it open"]]).get(at(curve.collapsed, state.R));
  let threshold = curve.certified ? "No R₀ was found between 1 and 10,000." : "R₀ could not be certified between 1 and 10,000.";
  if (curve.R0 !== null) {
    threshold = `Collapse ${curve.collapsed_above ? "sets in" : "ends"} at R₀ = ${curve.R0_text}`
      + bracket(curve, (low, high) => `, certified between ${low} and ${high}`) + ".";
  } else if (curve.loss.length === 1) threshold = "These label-pair frequencies do not depend on R, so no imbalance makes the minority collapse.";
  return `At R = ${R} the minority ${minority}. ${threshold} `
    + `The loss is certified to a relative gap of ${curve.gap} or less at every R.`;
}

function numbers(curve) {
  const value = name => fixed(at(curve[name], state.R), 4), K = DATA.K[state.K], pairs = program().name === "ms-free", kind = pairs ? "label pairs" : "classes";
  return [
    [`cosine of two ${kind} in the majority`, value("cos_AA")], ["cosine across the groups", value("cos_AB")],
    [`cosine of two ${kind} in the minority`, at(curve.cos_BB, state.R) === null ? "undefined (length 0)" : value("cos_BB")],
    ["length in the majority", value("norm_A")], ["length in the minority", value("norm_B")],
    ["loss at the optimum", at(curve.loss, state.R).toPrecision(6)],
    ["R₀, and its certified bracket", curve.R0 === null ? curve.certified ? "none" : "not certified" : curve.R0_text + bracket(curve, (low, high) => ` [${low}, ${high}]`)],
    ["cosine of a simplex, −1/(K−1)", fixed(-1 / ((pairs ? K * K : K) - 1), 4)],
  ];
}

const line = parts => element("div", parts.flatMap(part => [element("span", part), " "]));  // breaks between options only

function commands() {
  const law = DATA.laws[state.lam], options = [`--program ${program().name}`];
  if (profile() !== "-") options.push(`--profile ${state.profile}`);
  options.push(`--K ${DATA.K[state.K]}`);
  if (program().mixes) options.push(law.lam === null ? "--alpha 1" : `--lam ${law.lam}`);
  if (DATA.decay !== null) options.push(`--decay ${DATA.decay}`);
  return [line(["python -m lpm.solve", ...options, `--R ${DATA.R[state.R]}`]), line(["python -m lpm.threshold", ...options])];
}

const VERDICTS = {"holds": "holds", "holds under a stated repair": "repaired", "fails as stated": "fails"};

function showClaim(view) {
  const link = DATA.links.find(l => l.view === view && l.programs.includes(program().name) && l.profiles.includes(profile()));
  const box = $(view + "-claim");
  box.hidden = !link;  // the claims are about budgets
  if (!link) return;
  const claim = DATA.claims[link.claim];
  if (box.dataset.see === link.see) return;  // so that an open box stays open while R moves
  box.dataset.see = link.see;
  box.replaceChildren(
    element("p", link.see),
    element("p", ["Claim ", element("a", link.claim, {href: `${DATA.report}#${link.claim}`}), ": ",
      element("span", claim.verdict, {className: "verdict " + (VERDICTS[claim.verdict] ?? "open")})]),
    element("details", [element("summary", "the claim, and why"), element("p", claim.statement), element("p", claim.because),
      element("p", [claim.where + " ", element("code", `python -m paper_checks ${link.claim}`)], {className: "soft"})]));
}

function show() {
  for (const view of VIEWS) $("view-" + view).hidden = view !== state.view;
  for (const radio of document.getElementsByName("view")) radio.checked = radio.value === state.view;
  if (state.view === "decay") showDecay(); else showBudgets();
  if (plotly && !drawing) drawing = requestAnimationFrame(() => { drawing = 0, draw(); });
}

function showBudgets() {
  if (profile() !== "-" && !program().profiles.includes(state.profile)) state.profile = program().profiles[0];
  const curve = curveAt(state.lam);
  showControls(curve);
  $("sentence").textContent = sentence(curve);
  $("numbers").replaceChildren(...numbers(curve).map(([head, value]) => element("tr", [element("th", head, {scope: "row"}), element("td", value)])));
  $("limits").textContent = DATA.limits;
  $("command").replaceChildren(...commands());
  ["vectors", "curves", "R0"].forEach(showClaim);
}

function put(id, {data, layout}, title, words) {
  $(id).setAttribute("aria-label", `${title}. ${words}`);
  plotly.react($(id), data, layout, {displayModeBar: false, responsive: true, scrollZoom: false});
}

function draw() {
  if (state.view === "decay") drawDecay(palette()); else drawBudgets(curveAt(state.lam), palette());
}

function drawBudgets(curve, colour) {
  camera = $("vectors").layout?.scene?.camera ?? camera;  // keep what a mouse has turned
  const R = DATA.R[state.R], space = curve.sigma_B !== undefined && webgl && state.look === "3d", words = $("sentence").textContent;
  put("vectors", space ? inSpace(curve, state.R, colour, camera) : gram(curve, state.R, DATA.K[state.K], colour), "Class vectors", words);
  put("curves", overR(curve, state.R, colour), "Cosines and lengths against R", words);
  const laws = program().mixes ? DATA.laws.map(({lam}, i) => ({lam, curve: curveAt(i)})) : [{curve}];
  put("thresholds", overLambda(laws, state.lam, R, colour), "R₀ against λ", words);
}

function turn() {  // about the vertical axis
  const angle = Math.atan2(EYE.y, EYE.x) + Number($("turn").value) * Math.PI / 180, far = Math.hypot(EYE.x, EYE.y);
  plotly.relayout($("vectors"), {"scene.camera.eye": {x: far * Math.cos(angle), y: far * Math.sin(angle), z: EYE.z}});
}

function theme(dark) {
  const other = dark ? "Light" : "Dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").textContent = other, $("theme").setAttribute("aria-label", `${other} theme`);
  show();
}

async function unpack() {
  const packed = Uint8Array.from(atob($("plotly-packed").textContent.trim()), c => c.charCodeAt(0));
  const source = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(element("script", source));
  return window.Plotly;
}

function notice(text) {
  $("notice").textContent = text, $("notice").hidden = false;
}

function listen() {
  const change = (control, name, value) => control.addEventListener("input", () => { state[name] = value(), show(), writeAddress(); });
  for (const id of ["K", "lam", "R", "imbalance", "mu"]) change($(id), id, () => Number($(id).value));
  for (const id of ["program", "profile", "method"]) change($(id), id, () => $(id).value);
  for (const name of ["look", "view"]) for (const radio of document.getElementsByName(name)) change(radio, name, () => radio.value);
  $("turn").addEventListener("input", turn);
  for (const form of document.forms) form.addEventListener("submit", event => event.preventDefault());
  $("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "light"));
  window.addEventListener("hashchange", () => { readAddress(), show(); });
}

async function start() {
  const dark = matchMedia("(prefers-color-scheme: dark)"), canvas = document.createElement("canvas");
  fill(), state.R = interesting(), state.mu = interestingDecay(), readAddress(), listen();
  webgl = Boolean(canvas.getContext("webgl2") ?? canvas.getContext("webgl"));
  if (!webgl) notice("This browser has no WebGL, which the picture in space needs. The page shows the cosines instead.");
  dark.addEventListener("change", () => theme(dark.matches));
  theme(dark.matches);
  try {
    plotly = await unpack();
    draw();
  } catch (error) {
    notice(`The pictures cannot be drawn in this browser (${error.message}). The numbers below are complete.`);
  }
  document.documentElement.dataset.ready = "";
}
start();
