/* The handlers: how often each runs, how often it fails, how long it takes. */
import * as api from '../api.js';
import { histogram } from '../chart.js';
import { h, heading, table } from '../dom.js';
import * as format from '../format.js';

export function handlers(query, { signal }) {
	const before = new Map(); /* name -> { at, started } of the look before */

	function withRate(handler, at) {
		const old = before.get(handler.name);
		before.set(handler.name, { at, started: handler.started });
		return { ...handler, rate: old && at > old.at ? ((handler.started - old.started) * 1000) / (at - old.at) : null };
	}
	/* Known to a factor of four. */
	const atMost = (ns) => (ns > 0 ? `≤ ${format.durationNs(ns)}` : '–');
	const errors = (handler) => {
		const ended = handler.succeeded + handler.failed;
		const part = ended > 0 ? handler.failed / ended : 0;
		return h('span', { class: part >= 0.5 ? 'bad-text' : part > 0 ? 'fair-text' : null }, format.percent(handler.failed, ended));
	};
	const shown = table({ id: 'handlers', caption: 'Handlers', key: (handler) => handler.name, empty: 'No worker has told of its handlers yet.', columns: [
		{ name: 'Handler', cell: (handler) => [h('a', { href: `#/tasks?handler=${encodeURIComponent(handler.name)}` }, handler.name),
			handler.doc && h('div', { class: 'dim small' }, handler.doc), handler.started === 0 && h('span', { class: 'sr idle' }, 'has not run')] },
		{ name: 'Rate', class: 'number', cell: (handler) => (handler.rate === null ? '–' : format.rate(handler.rate)) },
		{ name: 'Started', class: 'number', cell: (handler) => format.count(handler.started) },
		{ name: 'Failed', class: 'number', cell: (handler) => (handler.failed > 0
			? h('a', { href: `#/tasks?state=dead&state=retrying&handler=${encodeURIComponent(handler.name)}`, title: 'Of all attempts; this leads to the tasks that are dead or retrying now' }, format.count(handler.failed)) : '0') },
		{ name: 'Errors', class: 'number', cell: errors },
		{ name: 'p50', class: 'number', cell: (handler) => atMost(handler.run.p50) },
		{ name: 'p99', class: 'number', cell: (handler) => atMost(handler.run.p99) },
		{ name: 'p99.9', class: 'number', cell: (handler) => atMost(handler.run['p99.9']) },
		{ name: 'Durations', class: 'wide', cell: (handler) => histogram(handler.run.buckets, `Durations of ${handler.name}`, format.durationNs) },
	] });
	return { element: h('div', null, heading('Handlers'), shown.element), every_ms: 3000, async look() {
		const answer = await api.get('handlers', null, signal);
		const at = Date.now();
		shown.set(answer.handlers.map((handler) => withRate(handler, at)));
	} };
}
