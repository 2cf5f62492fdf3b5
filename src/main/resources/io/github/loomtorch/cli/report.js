'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const dark = matchMedia('(prefers-color-scheme: dark)');
let printing = false;

// Okabe and Ito's colours, which colour-blind readers tell apart; dashes tell them apart without colour, too.
const LIGHT = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#B8860B', '#444444'];
const DARK = ['#56B4E9', '#FF8C42', '#2FD3A2', '#E9A3CB', '#F0C64A', '#CFCFCF'];
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [14, 5], [5, 2]];
const BORDERS = ['solid', 'dashed', 'dotted', 'dashed', 'dashed', 'dashed'];
const dashOf = line => (line.dash ?? line.color) % DASHES.length;

const isDark = () => dark.matches && !printing;
const color = i => (isDark() ? DARK : LIGHT)[i % LIGHT.length];
const textColor = () => isDark() ? '#c8cdd2' : '#333';
const pageColor = () => isDark() ? '#15181c' : '#fff';
const gridColor = () => isDark() ? '#2c3137' : '#e6e6e6';

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
  node.append(...children);
  return node;
}

function format(value) {
  if (value === undefined || value === null) return '';
  if (Number.isInteger(value)) return value.toLocaleString('en');
  return value.toLocaleString('en', {maximumSignificantDigits: Math.abs(value) >= 1000 ? 6 : 4});
}

const charts = []; // functions that draw one each, again on another theme or width

function section(title, text) {
  const box = element('section', {}, element('h2', {}, title), element('p', {}, text));
  const grid = element('div', {class: 'charts'});
  box.append(grid);
  document.getElementById('content').append(box);
  return grid;
}

/* Lines with an x of their own each. A line: {label, x, y, color, dash, points}. */
function chart(grid, title, xLabel, yLabel, lines, options = {}) {
  const drawn = lines.filter(line => line.x.length > 0);
  if (drawn.length === 0) return;
  const figure = element('figure', {}, element('figcaption', {}, title));
  const box = element('div');
  figure.append(box);
  grid.append(figure);
  const positive = v => options.logX ? Math.max(v, 1e-3) : v;
  const tables = drawn.map(line => [line.x.map(positive), line.y]);
  // A log scale without a decade to show has no labels.
  const allX = tables.flatMap(table => table[0]);
  const low = Math.min(...allX), high = Math.max(...allX);
  const logX = options.logX && high > 5 * low;
  let plot = null;
  charts.push(() => {
    if (plot) plot.destroy();
    const axis = label => ({label, stroke: textColor(), labelSize: 22, labelFont: '13px system-ui', font: '12px system-ui',
      grid: {stroke: gridColor(), width: 1}, ticks: {stroke: gridColor()}, size: label === yLabel ? 66 : 44,
      values: (u, splits) => splits.map(v => v === null ? '' : format(v))});
    plot = new uPlot({
      width: box.clientWidth || 480,
      height: 300,
      scales: {x: {time: false, distr: logX ? 3 : 1, range: options.xFromZero && !logX ? (u, min, max) => [0, max * 1.05 || 1] : undefined},
        y: {range: (u, min, max) => [0, options.max || max * 1.05 || 1]}},
      axes: [axis(xLabel), axis(yLabel)],
      series: [{label: xLabel, value: (u, v) => format(v)}].concat(drawn.map(line => ({
        label: line.label, stroke: color(line.color), width: line.points ? 0 : 2, dash: DASHES[dashOf(line)],
        spanGaps: true, paths: line.points ? () => null : line.stepped ? uPlot.paths.stepped({align: -1}) : undefined,
        points: {show: !!(line.points || line.marks), size: line.points ? 4 : 8, width: 2,
          fill: line.marks && line.dash ? pageColor() : color(line.color), stroke: color(line.color)},
        value: (u, v) => format(v)}))),
      cursor: {drag: {x: true, y: false}},
      legend: {markers: {dash: (u, i) => i === 0 ? 'solid' : BORDERS[dashOf(drawn[i - 1])]}},
    }, uPlot.join(tables), box);
  });
}

const measured = data.columns.filter(column => column.ttft);
// More lines than colours cannot be told apart.
const shown = measured.slice(0, LIGHT.length);
const note = measured.length > shown.length ? ` The first ${shown.length} of ${measured.length} results.` : '';
const name = column => column.name || 'result';

function throughputAgainstLatency() {
  if (measured.length === 0) return;
  const grid = section('Throughput against latency', measured.length > 1
    ? 'Each point is a measurement. Further right is more throughput, further down is less latency. Solid: median; dashed and hollow: 99th percentile.'
    : 'One measurement; the hollow point is the 99th percentile. A sweep over rates draws a curve.');
  // Columns that differ only in their last parameter are one curve.
  const curves = new Map();
  for (const column of measured) {
    const values = Object.values(column.parameters);
    const key = values.length > 1 ? values.slice(0, -1).join(' ') : name(column);
    curves.set(key, (curves.get(key) || []).concat(column));
  }
  for (const [metric, label] of [['ttft_ms', 'TTFT, ms'], ['tpot_ms', 'TPOT, ms'], ['e2el_ms', 'E2EL, ms']]) {
    const lines = [];
    [...curves].forEach(([key, columns], i) => {
      const sorted = [...columns].sort((a, b) => a.metrics.output_throughput - b.metrics.output_throughput);
      ['median', 'p99'].forEach((kind, dash) => lines.push({label: key + ', ' + kind, color: i, dash, marks: true,
        x: sorted.map(c => c.metrics.output_throughput), y: sorted.map(c => c.metrics[kind + '_' + metric])}));
    });
    chart(grid, label.split(',')[0] + ' by throughput', 'output throughput, tokens/s', label, lines, {xFromZero: true});
  }
}

function distributions() {
  if (shown.length === 0) return;
  const grid = section('Distributions', 'How many percent of the values are not above a time. A steep line is a steady latency.' + note);
  for (const [key, label] of [['ttft', 'TTFT'], ['itl', 'ITL']]) {
    chart(grid, label + (key === 'ttft' ? ', time to first token' : ', gaps between tokens'), label + ', ms', 'not above, %',
      shown.map((column, i) => ({label: name(column), color: i, x: column[key][0], y: column[key][1]})), {logX: true, max: 100});
  }
}

function overTime() {
  if (shown.length === 0) return;
  const grid = section('Over time', 'The first run. TTFT by the arrival of each request; gaps between tokens by when they ended (solid: median, dashed: 99th percentile).' + note);
  chart(grid, 'TTFT over time', 'arrival, s', 'TTFT, ms',
    shown.map((column, i) => ({label: name(column), color: i, points: true, x: column.ttftOverTime[0], y: column.ttftOverTime[1]})), {xFromZero: true});
  chart(grid, 'ITL over time', 'time, s', 'ITL, ms', shown.flatMap((column, i) => [
    {label: name(column) + ', median', color: i, dash: 0, x: column.itlMedianOverTime[0], y: column.itlMedianOverTime[1]},
    {label: name(column) + ', p99', color: i, dash: 1, x: column.itlP99OverTime[0], y: column.itlP99OverTime[1]}]), {xFromZero: true});
}

function batches() {
  const withSteps = shown.filter(column => column.steps.seconds.length > 0);
  if (withSteps.length === 0) return;
  const grid = section('Batches', 'What the steps of the first run had: sequences that got a token, sequences whose prompt needs more steps, requests that waited, and sequences that were preempted. A prompt that fits one step gets its first token in it.' + note);
  if (withSteps.length > 1) {
    chart(grid, 'Sequences in each step, side by side', 'time, s', 'sequences', withSteps.map((column, i) => ({label: name(column), color: i, stepped: true,
      x: column.steps.seconds, y: column.steps.decoding.map((d, j) => d + column.steps.prefilling[j])})), {xFromZero: true});
  }
  for (const column of withSteps) {
    const steps = column.steps;
    const line = (label, key, i) => ({label, color: i, stepped: true, x: steps.seconds, y: steps[key]});
    const preempted = steps.seconds.map((s, i) => [s, steps.preempted[i]]).filter(p => p[1] > 0);
    chart(grid, name(column), 'time, s', 'sequences', [line('decoded', 'decoding', 0), line('in prefill, no token yet', 'prefilling', 1),
      line('waited', 'waiting', 2),
      {label: 'preempted', color: 3, points: true, x: preempted.map(p => p[0]), y: preempted.map(p => p[1])}], {xFromZero: true});
  }
}

function niceStep(max) {
  const raw = max / 6, power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map(f => f * power).find(step => step >= raw);
}

function timelines() {
  if (shown.length === 0) return;
  const grid = section('Requests', 'A line for each of the first requests of the first run, on one scale of time. A static batch shows as a block, whose requests wait for the longest.' + note);
  const key = element('div', {class: 'key'});
  for (const [cls, label] of [['wait', 'waited'], ['prefill', 'until the first token'], ['decode', 'got tokens'], ['preempted', 'preempted'], ['bad', 'did not complete']]) {
    key.append(element('span', {}, element('i', {style: cls === 'bad' ? 'border: 2px solid var(--bad)' : `background: var(--${cls})`}), label));
  }
  grid.before(key);
  const max = Math.max(...shown.flatMap(column => column.requests.map(request => request[3])), 1e-6);
  for (const column of shown) {
    const figure = element('figure', {}, element('figcaption', {}, name(column)
      + (column.requestCount > column.requests.length ? `, ${column.requests.length} of ${column.requestCount} requests` : '')));
    const rows = column.requests.length, height = Math.max(4, Math.min(12, 320 / rows)), bottom = 10 + rows * height;
    const x = seconds => 46 + 540 * seconds / max;
    let svg = '';
    const step = niceStep(max);
    for (let s = 0; s <= max * 1.0001; s += step) {
      svg += `<line class="axis" x1="${x(s)}" x2="${x(s)}" y1="8" y2="${bottom}"/><text x="${x(s)}" y="${bottom + 15}" text-anchor="middle">${format(+s.toPrecision(6))}</text>`;
    }
    svg += `<text x="316" y="${bottom + 32}" text-anchor="middle">time, s</text><text x="13" y="${10 + rows * height / 2}" text-anchor="middle" transform="rotate(-90 13 ${10 + rows * height / 2})">request</text>`;
    svg += `<text x="42" y="${18}" text-anchor="end">1</text>` + (rows > 1 ? `<text x="42" y="${bottom}" text-anchor="end">${rows}</text>` : '');
    column.requests.forEach(([arrival, started, first, end, status, preempted], i) => {
      const y = 10 + i * height, h = Math.max(2, height - 1.5);
      const part = (cls, from, to) => to > from ? `<rect class="${cls}" x="${x(from)}" y="${y}" width="${x(to) - x(from)}" height="${h}"/>` : '';
      // A thin line in a gap: told from the other parts without its colour, too.
      const gap = ([from, to]) => part('gap', from, to)
        + `<rect class="preempted" x="${x(from)}" y="${y + h / 3}" width="${x(to) - x(from)}" height="${h / 3}"/>`;
      svg += `<g><title>request ${i + 1}, ${status}: arrived ${format(arrival)} s, started ${format(started)} s, first token ${format(first)} s, end ${format(end)} s`
        + preempted.map(([from, to]) => `, preempted from ${format(from)} to ${format(to)} s`).join('') + '</title>'
        + part('wait', arrival, started) + part('prefill', started, first) + part('decode', first, end) + preempted.map(gap).join('')
        + (status === 'completed' ? '' : `<rect class="bad" x="${x(arrival)}" y="${y}" width="${Math.max(3, x(end) - x(arrival))}" height="${h}"/>`) + '</g>';
    });
    const box = element('div');
    box.innerHTML = `<svg viewBox="0 0 600 ${bottom + 38}" role="img" aria-label="Timeline of requests, ${rows} lines">${svg}</svg>`;
    figure.append(box);
    grid.append(figure);
  }
}

function tables() {
  const box = element('section', {}, element('h2', {}, 'Numbers'));
  const names = [...new Set(data.columns.flatMap(column => Object.keys(column.metrics)))];
  const table = element('table', {}, element('thead', {}, element('tr', {}, element('th', {}, ''), ...data.columns.map(c => element('th', {}, name(c))))));
  const body = element('tbody');
  for (const metric of names) {
    body.append(element('tr', {}, element('td', {}, metric), ...data.columns.map(c => element('td', {}, format(c.metrics[metric])))));
  }
  table.append(body);
  box.append(element('div', {class: 'scroll'}, table));
  const facts = element('table', {id: 'facts'});
  Object.entries({...data.facts, date: data.date}).forEach(([key, value]) => facts.append(element('tr', {}, element('td', {}, key), element('td', {}, value))));
  box.append(element('h2', {}, 'Settings'), facts);
  document.getElementById('content').append(box);
}

document.title = document.getElementById('title').textContent = data.title;
document.getElementById('command').textContent = data.command;
throughputAgainstLatency();
distributions();
overTime();
batches();
timelines();
tables();
const draw = () => charts.forEach(each => each());
draw();
dark.addEventListener('change', draw);
let resized;
addEventListener('resize', () => { clearTimeout(resized); resized = setTimeout(draw, 100); });
addEventListener('beforeprint', () => { printing = true; draw(); });
addEventListener('afterprint', () => { printing = false; draw(); });
