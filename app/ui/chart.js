/* Charts over time, drawn by uPlot: columns of numbers come in. Colours are the style sheet's. */
import uPlot from './vendor/uPlot.esm.js';

import { h, setText } from './dom.js';

const DECADES_MOST = 6; /* between two marks at the ends of a logarithmic scale */
const charts = new Set();
const WHOLE = Array.from({ length: 13 }, (_, i) => [1, 2, 5].map((each) => each * 10 ** i)).flat();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const font = () => `11px ${getComputedStyle(document.body).fontFamily}`;

/*
 * series: [{ label, colour (a custom property), fill }]; format(value) -> text. { element, set(columns) }: columns[0]
 * are times in s since 1970. mark(value, step) -> text, for the scale, where format() is too coarse; `whole`: only whole
 * numbers are marked. `log`: a logarithmic scale, for values that differ by powers of ten. `span_s`: how
 * much of it is shown at most, up to the newest, and at least a fifth of that.
 */
export function chart({ id, title, series, format, mark = format, whole, log, span_s, height = 174 }) {
	const values = series.map(() => h('b', { class: 'number' }, '–'));
	const legend = h('ul', { class: 'legend' }, series.map((each, i) => {
		const swatch = h('i', { 'aria-hidden': 'true' });
		swatch.style.background = `var(${each.colour})`;
		return h('li', null, swatch, each.label, ' ', values[i]);
	}));
	const plot = h('div', { class: 'plot', role: 'img', 'aria-label': `${title}: a chart; the newest values stand above it` });
	const element = h('figure', { class: 'chart', id }, h('figcaption', null, h('span', { class: 'name' }, title), legend), plot);
	const self = { element, drawn: null, columns: [[], ...series.map(() => [])], draw, set, destroy };

	function showValues(index) {
		const at = index ?? self.columns[0].length - 1;
		values.forEach((value, i) => setText(value, at >= 0 && self.columns[i + 1][at] !== null && self.columns[i + 1][at] !== undefined
			? format(self.columns[i + 1][at]) : '–'));
	}
	function options() {
		const axis = { stroke: colour('--dim'), font: font(), grid: { stroke: colour('--grid'), width: 1 }, ticks: { show: false } };
		return {
			width: Math.max(plot.clientWidth, 200), height, legend: { show: false },
			cursor: { y: false, points: { size: 5 }, drag: { x: false, y: false } },
			scales: { x: { time: true, range: (u, low, high) => recent(low, high, span_s) }, y: log ? { distr: 3, range: (u, low, high) => logRange(low, high) } : { range: (u, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
			axes: [{ ...axis, size: 28, gap: 9, space: 76, values: (u, splits) => splits.map(timeOnly(splits)) }, { ...axis, ...(log ? { grid: { ...axis.grid, filter: onlyDecades } } : {}), size: 62, space: 32, ...(whole ? { incrs: WHOLE } : {}),
				values: (u, splits, at, space, step) => splits.map((v) => (v === null ? '' : mark(v, step))),
				...(log ? { filter: onlyDecades } : {}) }],
			series: [{}, ...series.map((each) => ({ label: each.label, stroke: colour(each.colour), width: 1.5, spanGaps: Boolean(each.spanGaps),
				fill: each.fill ? `${colour(each.colour)}22` : undefined, points: { size: 4, fill: colour(each.colour), ...(each.spanGaps ? { show: true } : {}) } }))],
			hooks: { setCursor: [(u) => showValues(u.cursor.idx)] },
		};
	}
	function draw() {
		self.drawn?.destroy();
		self.drawn = plot.clientWidth > 0 ? new uPlot(options(), self.columns, plot) : null;
	}
	function set(columns) {
		self.columns = columns;
		showValues(null);
		if (self.drawn)
			self.drawn.setData(columns);
		else
			draw();
	}
	function destroy() {
		charts.delete(self);
		watcher.unobserve(plot);
		self.drawn?.destroy();
	}
	plot.chart = self;
	charts.add(self);
	watcher.observe(plot);
	return self;
}

/* With seconds where the marks are less than a minute apart, with the day where they are more than one. */
function timeOnly(splits) {
	const step = splits.length > 1 ? splits[1] - splits[0] : 60;
	const shown = new Intl.DateTimeFormat(undefined, step >= 86400 ? { month: 'short', day: 'numeric' } :
		{ hour: '2-digit', minute: '2-digit', second: step < 60 ? '2-digit' : undefined, hourCycle: 'h23' });
	return (at_s) => shown.format(at_s * 1000);
}

/* Up to the newest; where there is nothing yet, up to now. */
function recent(low, high, span_s) {
	const end = high ?? Date.now() / 1000;
	return [Math.max(end - span_s, Math.min(low ?? end, end - span_s / 5)), end];
}

/* Whole powers of ten around what there is. */
function logRange(low, high) {
	if (!(low > 0) || !(high > 0))
		return [0.01, 10];
	return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high * 1.01))];
}

/* Powers of ten; where they are many, every second or third of them. */
function onlyDecades(u, splits) {
	const { min, max } = u.scales.y;
	const lowest = Math.round(Math.log10(min)), step = Math.ceil((Math.log10(max) - lowest) / DECADES_MOST);
	return splits.map((value) => {
		const power = Math.round(Math.log10(value));
		return Math.abs(Math.log10(value) - power) < 1e-6 && (power - lowest) % step === 0 ? value : null;
	});
}

const watcher = new ResizeObserver((entries) => {
	for (const { target } of entries) {
		const self = target.chart;
		const width = Math.floor(target.clientWidth);
		if (width > 0 && self.drawn === null)
			self.draw();
		else if (width > 0 && Math.abs(self.drawn.width - width) > 1)
			self.drawn.setSize({ width, height: self.drawn.height });
	}
});

/* After a switch between light and dark. */
export function recolour() {
	for (const self of charts)
		self.draw();
}

/*
 * How durations are spread: buckets [{ le (ns), count }] of which each reaches four times as far as the one before, and
 * empty ones are left out; as bars, with the same as text for those who do not see them.
 */
export function histogram(buckets, label, format) {
	if (buckets.length === 0)
		return h('span', { class: 'dim' }, '–');
	const counts = new Map(buckets.map(({ le, count }) => [le, count]));
	const most = Math.max(...counts.values()), low = buckets[0].le, high = buckets.at(-1).le;
	const columns = [];
	for (let le = low; le <= high; le *= 4) {
		const count = counts.get(le) ?? 0;
		const bar = h('i', { title: `${count} up to ${format(le)}` });
		bar.style.height = `${Math.max(count > 0 ? 8 : 0, (100 * count) / most)}%`;
		columns.push(bar);
	}
	const text = buckets.map(({ le, count }) => `${count} up to ${format(le)}`).join(', ');
	return h('span', { class: 'spread' }, h('span', { class: 'ends' }, low > 1000 ? format(low / 4) : '0'),
		h('span', { class: 'bars', role: 'img', 'aria-label': `${label}: ${text}` }, columns), h('span', { class: 'ends' }, format(high)));
}
