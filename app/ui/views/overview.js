/* How the whole is: cards, live charts of the last minutes, and the journal's history. */
import * as api from '../api.js';
import { chart } from '../chart.js';
import { h, heading, replace, setText } from '../dom.js';
import * as format from '../format.js';
import * as series from '../series.js';

const SHOWN_S = 300;
/* As much as GET /stats/history gives unasked. */
const HISTORY = { minute: { step_ms: 60e3, span_s: 3 * 3600 }, hour: { step_ms: 3600e3, span_s: 7 * 86400 } };
const QUANTILES = [['p50', 'p50', '--q1'], ['p99', 'p99', '--q2'], ['p999', 'p99.9', '--q3']];

/* [id, label, where it leads, value(stats), below(stats)] */
const CARDS = [
	['running', 'Running', '#/tasks?state=running', (s) => format.count(s.gauges.task_running), () => now((p) => p.succeeded, 'done')],
	['waiting', 'Waiting', '#/tasks?state=queued', (s) => format.count(s.gauges.task_waiting), () => now((p) => p.accepted, 'new')],
	['oldest', 'Oldest wait', '#/queues', (s) => format.duration(s.gauges.task_oldest_wait_ms), () => ''],
	['scheduled', 'Scheduled', '#/tasks?state=scheduled', (s) => format.count(s.gauges.task_scheduled), () => ''],
	['retrying', 'Retrying', '#/tasks?state=retrying', (s) => format.count(s.gauges.task_retrying), () => now((p) => p.failed, 'failed')],
	['succeeded', 'Succeeded', '#/tasks?state=succeeded', (s) => format.count(s.counters.task_succeeded), (s) => `in all; ${format.rate(s.rates.task_succeeded)} on average`],
	['failed', 'Failed attempts', '#/handlers', (s) => format.count(series.failedOf(s.counters)), (s) => `of ${format.count(s.counters.attempt_started)} begun`],
	['dead', 'Dead', '#/tasks?state=dead', (s) => format.count(s.gauges.task_dead_now), (s) => `${format.count(s.counters.task_dead)} died in all`],
	['utilisation', 'Workers busy', '#/workers', (s) => format.percent(s.gauges.worker_threads_busy, s.workers.threads),
		(s) => `of ${format.count(s.workers.threads)} threads`],
	['memory', 'Worker memory', '#/workers', (s) => format.bytesFromKb(s.workers.memory_kb), (s) => (s.counters.worker_died ? `${format.count(s.counters.worker_died)} died` : '')],
];

const now = (read, what) => {
	const point = series.newest();
	const value = point && read(point);
	return value === null || value === undefined ? '' : `${format.rate(value)} ${what}`;
};

function makeCards() {
	const made = CARDS.map(([id, label, href, value, below]) => {
		const big = h('span', { class: 'big', 'data-value': id }, '–'), small = h('span', { class: 'below' });
		return { big, small, value, below, element: h('li', null, h('a', { class: 'card', href, id: `card-${id}` }, h('span', { class: 'label' }, label), big, small)) };
	});
	return {
		element: h('ul', { class: 'cards', 'aria-label': 'Figures' }, made.map((card) => card.element)),
		show(stats) {
			for (const card of made) {
				setText(card.big, card.value(stats));
				setText(card.small, card.below(stats));
			}
		},
	};
}

function makeLive() {
	const throughput = chart({ id: 'chart-rates', title: 'Tasks', span_s: SHOWN_S, format: (v) => format.rate(v), mark: format.rateMark, series: [
		{ label: 'accepted', colour: '--c-accepted' }, { label: 'succeeded', colour: '--c-good', fill: true }, { label: 'failed', colour: '--c-bad' }] });
	const durations = (id, title) => chart({ id, title, log: true, span_s: SHOWN_S, format: format.duration, mark: format.durationMark,
		series: QUANTILES.map(([, label, colour]) => ({ label, colour, spanGaps: true })) });
	const wait = durations('chart-wait', 'Wait for a worker'), run = durations('chart-run', 'Run');
	return {
		charts: [throughput, wait, run],
		show() {
			const at = series.times();
			throughput.set([at, series.column((p) => p.accepted), series.column((p) => p.succeeded), series.column((p) => p.failed)]);
			wait.set([at, ...QUANTILES.map(([name]) => series.column((p) => p.wait[name]))]);
			run.set([at, ...QUANTILES.map(([name]) => series.column((p) => p.run[name]))]);
		},
	};
}

/* Spans in which nothing happened have no row there; here they have one of zeros. */
function withIdle(rows, step_ms) {
	const none = { accepted: 0, succeeded: 0, failed: 0, dead: 0, wait_ns: {}, run_ns: {} };
	return rows.flatMap((row, i) => {
		const missing = i === 0 ? 0 : Math.min(2000, Math.round((Date.parse(row.at) - Date.parse(rows[i - 1].at)) / step_ms) - 1);
		return [...Array.from({ length: Math.max(0, missing) }, (_, k) => ({ ...none, at: new Date(Date.parse(rows[i - 1].at) + (k + 1) * step_ms).toISOString() })), row];
	});
}

/* By minute or hour, as the journal keeps it: still there after a restart. */
function makeHistory(span, signal) {
	const counts = chart({ id: 'history-counts', title: `Tasks by ${span}`, span_s: HISTORY[span].span_s, whole: true, format: format.count, series: [
		{ label: 'accepted', colour: '--c-accepted' }, { label: 'succeeded', colour: '--c-good', fill: true },
		{ label: 'failed attempts', colour: '--c-bad' }, { label: 'dead', colour: '--c-dead' }] });
	const quantiles = chart({ id: 'history-quantiles', title: 'Wait and run, p99', log: true, span_s: HISTORY[span].span_s, format: format.duration, mark: format.durationMark,
		series: [{ label: 'wait', colour: '--q2', spanGaps: true }, { label: 'run', colour: '--c-dead', spanGaps: true }] });
	const nothing = h('p', { class: 'empty' }, 'Looking…');
	const tab = (name, label) => h('a', { href: `#/?span=${name}`, 'data-span': name, 'aria-current': name === span ? 'true' : null }, label);
	const body = h('div', { class: 'charts', hidden: true }, counts.element, quantiles.element);
	const positive = (value) => (value > 0 ? value / 1e6 : null);
	async function look() {
		let rows;
		try {
			rows = withIdle((await api.get('stats/history', { span }, signal)).rows, HISTORY[span].step_ms);
		} catch (error) {
			if (error.status !== 404)
				throw error;
			rows = [];
		}
		setText(nothing, 'The journal has no history yet.');
		nothing.hidden = rows.length > 0;
		body.hidden = rows.length === 0;
		const at = rows.map((row) => Date.parse(row.at) / 1000);
		counts.set([at, rows.map((row) => row.accepted), rows.map((row) => row.succeeded), rows.map((row) => row.failed), rows.map((row) => row.dead)]);
		quantiles.set([at, rows.map((row) => positive(row.wait_ns.p99)), rows.map((row) => positive(row.run_ns.p99))]);
	}
	return { charts: [counts, quantiles], look, element: h('section', { id: 'history', 'aria-labelledby': 'history-title' },
		h('div', { class: 'heading' }, h('h2', { id: 'history-title' }, 'History'),
			h('nav', { class: 'tabs', 'aria-label': 'Span of the history' }, tab('minute', 'by minute'), tab('hour', 'by hour'))), nothing, body) };
}

export function overview(query, { signal }) {
	const cards = makeCards(), live = makeLive();
	const history = makeHistory(query.get('span') === 'hour' ? 'hour' : 'minute', signal);
	const up = h('span', { class: 'dim', id: 'taskd-up' });
	const element = h('div', null, heading('Overview', up), cards.element,
		h('section', { 'aria-label': 'The last minutes' }, h('div', { class: 'charts three' }, live.charts.map((each) => each.element))), history.element);
	const show = (stats) => {
		cards.show(stats);
		live.show();
		replace(up, `taskd ${stats.taskd.pid}, up `, format.duration(Math.max(0, stats.timestamp_ms - stats.taskd.started_ms)),
			stats.taskd.incarnation > 1 ? `, start ${stats.taskd.incarnation}` : '', ` · ${stats.version}`);
	};
	if (series.latest())
		show(series.latest());
	return { element, every_ms: 30000, look: history.look, onStats: show,
		leave: () => [...live.charts, ...history.charts].forEach((each) => each.destroy()) };
}
