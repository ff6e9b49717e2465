/* The worker processes: what each runs and for how long, its memory, how often it had to be started again. */
import * as api from '../api.js';
import { h, heading, replace, table } from '../dom.js';
import * as format from '../format.js';

const TASKS_SHOWN = 8;

function running(worker) {
	if (worker.running_count === 0)
		return h('span', { class: 'dim' }, 'nothing');
	const shown = worker.running.slice(0, TASKS_SHOWN).map((task) => h('li', null, h('a', { href: `#/tasks/${task.id}` }, task.handler), ' ',
		h('span', { class: 'dim' }, format.since(task.started)), task.total > 0 && h('span', { class: 'dim' }, ` · ${format.percent(task.done, task.total)}`)));
	const more = worker.running_count - shown.length;
	return h('ul', { class: 'plain' }, shown, more > 0 && h('li', { class: 'dim' }, `and ${format.count(more)} more`));
}

function lastExit(exit) {
	if (exit === null)
		return '–';
	return [format.exitOf(exit.signal, exit.code), ', ', format.when(exit.at),
		exit.peak_memory_kb > 0 && h('div', { class: 'dim small' }, `peak ${format.bytesFromKb(exit.peak_memory_kb)}`)];
}

export function workers(query, { signal }) {
	const summary = h('span', { class: 'dim', id: 'workers-summary' });
	const shown = table({ id: 'workers', caption: 'Worker processes', key: (worker) => worker.row, empty: 'There are no workers; taskd may not run.', columns: [
		{ name: 'Pool', cell: (worker) => worker.pool },
		{ name: 'Process', class: 'number', cell: (worker) => (worker.pid > 0 ? String(worker.pid) : '–') },
		{ name: 'State', cell: (worker) => format.state(worker.state) },
		{ name: 'Runs', class: 'wide', cell: running },
		{ name: 'Threads', class: 'number', cell: (worker) => String(worker.threads) },
		{ name: 'Memory', class: 'number', cell: (worker) => format.bytesFromKb(worker.memory_kb) },
		{ name: 'Ended', class: 'number', cell: (worker) => format.count(worker.tasks) },
		{ name: 'Up', class: 'number', cell: (worker) => format.since(worker.started) },
		{ name: 'Restarts', class: 'number', cell: (worker) => h('span', { class: worker.restarts > 0 ? 'fair-text' : null }, format.count(worker.restarts)) },
		{ name: 'Last exit', cell: (worker) => lastExit(worker.last_exit) },
	] });
	return { element: h('div', null, heading('Workers', summary), shown.element), every_ms: 2000, async look() {
		const answer = await api.get('workers', null, signal);
		const busy = answer.workers.filter((worker) => worker.state === 'busy').length;
		replace(summary, `${busy} of ${answer.workers.length} busy`);
		shown.set(answer.workers);
	} };
}
