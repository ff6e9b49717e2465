/* The queues: how much waits in each, for how long, how fast it goes; pausing and resuming. */
import { pauseQueue } from '../actions.js';
import * as api from '../api.js';
import { h, heading, table } from '../dom.js';
import * as format from '../format.js';

export function queues(query, { signal, lookAgain }) {
	const before = new Map(); /* name -> { at, accepted, ended } of the look before, and the rates since */

	function rates(queue, at) {
		const old = before.get(queue.name);
		const seconds = old ? (at - old.at) / 1000 : 0;
		const now = { at, accepted: queue.accepted, ended: queue.ended,
			in: seconds > 0 ? (queue.accepted - old.accepted) / seconds : null, out: seconds > 0 ? (queue.ended - old.ended) / seconds : null };
		before.set(queue.name, now);
		return { ...queue, in: now.in, out: now.out };
	}
	const steer = (queue) => api.may('steer') && h('button', { type: 'button', 'data-action': queue.paused ? 'resume' : 'pause',
		'aria-label': `${queue.paused ? 'Resume' : 'Pause'} queue ${queue.name}`,
		onclick: async () => (await pauseQueue(queue, queue.paused)) && setTimeout(lookAgain, 300) }, queue.paused ? 'Resume' : 'Pause');
	const link = (queue, state, number) => (number > 0 ? h('a', { href: `#/tasks?state=${state}&queue=${encodeURIComponent(queue.name)}` }, format.count(number)) : '0');
	const shown = table({ id: 'queues', caption: 'Queues', key: (queue) => queue.name, empty: 'No task has named a queue yet.', columns: [
		{ name: 'Queue', cell: (queue) => [h('a', { href: `#/tasks?queue=${encodeURIComponent(queue.name)}` }, queue.name), ' ', queue.paused && h('span', { class: 'state paused' }, 'paused')] },
		{ name: 'Waiting', class: 'number', cell: (queue) => link(queue, 'queued', queue.waiting) },
		{ name: 'Oldest', class: 'number', cell: (queue) => (queue.oldest_due && queue.waiting > 0 ? format.since(queue.oldest_due) : '–') },
		{ name: 'Running', class: 'number', cell: (queue) => link(queue, 'running', queue.running) },
		{ name: 'Scheduled', class: 'number', cell: (queue) => link(queue, 'scheduled', queue.scheduled) },
		{ name: 'Retrying', class: 'number', cell: (queue) => link(queue, 'retrying', queue.retrying) },
		{ name: 'In', class: 'number', cell: (queue) => (queue.in === null ? '–' : format.rate(queue.in)) },
		{ name: 'Out', class: 'number', cell: (queue) => (queue.out === null ? '–' : format.rate(queue.out)) },
		{ name: 'Ended', class: 'number', cell: (queue) => format.count(queue.ended) },
		{ name: 'Steer', label: '', class: 'actions', cell: steer },
	] });
	return { element: h('div', null, heading('Queues'), shown.element), every_ms: 3000, async look() {
		const answer = await api.get('queues', null, signal);
		const at = Date.now();
		shown.set(answer.queues.map((queue) => rates(queue, at)), api.may('steer'));
	} };
}
