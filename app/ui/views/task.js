/* One task: where it is and why, its time line, attempts, log, arguments, result, and the request's other tasks. */
import { ACTIONS, actOnOne, allows, editAndRetry } from '../actions.js';
import * as api from '../api.js';
import { h, heading, keepFocus, replace, setText, table } from '../dom.js';
import * as format from '../format.js';
import { jsonView } from '../json_view.js';
import { ENDED, follow, POLL_MS } from '../live.js';
import * as series from '../series.js';
import { timeline } from '../timeline.js';

function actions(task, done) {
	const list = Object.entries(ACTIONS).filter(([name]) => allows(name, task.state) && !(name === 'cancel' && task.cancelling)).map(([name, { label, danger }]) =>
		h('button', { type: 'button', id: `task-${name}`, class: danger ? 'danger' : 'primary', 'data-action': name,
			onclick: async () => (await actOnOne(name, task)) && done() }, label));
	if (task.arguments !== undefined)
		list.push(h('button', { type: 'button', id: 'task-edit', 'data-action': 'edit', onclick: async () => {
			const id = await editAndRetry(task);
			if (id)
				location.hash = `#/tasks/${id}`;
		} }, ENDED.includes(task.state) ? 'Edit and retry' : 'Edit a copy'));
	return api.may('steer') ? list : [];
}

function facts(task) {
	const rows = [
		['Queue', h('a', { href: `#/tasks?queue=${encodeURIComponent(task.queue)}` }, task.queue)],
		['Attempt', format.attempt(task, ' of ')],
		['Created', [format.fullTime(task.created), ' (', format.when(task.created), ')']],
		['Due', task.due && task.due !== task.created && [format.fullTime(task.due), ' (', format.when(task.due), ')']],
		['Started', task.started && [format.fullTime(task.started), ', after ', format.between(format.ms(task.due ?? task.created), format.ms(task.started))]],
		['Ended', task.ended && [format.fullTime(task.ended), task.started && `, after ${format.between(format.ms(task.started), format.ms(task.ended))}`]],
		['Request', task.request_id && h('code', null, task.request_id)],
		['Trace', task.trace && h('code', null, task.trace)],
	];
	return h('dl', { class: 'facts', id: 'task-facts' }, rows.filter(([, value]) => value).map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))));
}

function progressOf(task) {
	const { done, total, text } = task.progress;
	if (task.state !== 'running' && done === 0)
		return null;
	if (total === 0 && done === 0 && !text)
		return null;
	return [total > 0 && h('progress', { id: 'task-progress', max: total, value: Math.min(done, total), 'aria-label': 'Progress' }),
		h('span', { id: 'task-progress-text' }, total > 0 ? `${format.percent(done, total)} · ${format.count(done)} of ${format.count(total)}` : done > 0 ? `${format.count(done)} done` : '', text ? ` · ${text}` : '')];
}

function progressView() {
	const element = h('div', { class: 'progress', 'aria-live': 'polite', 'aria-atomic': 'true' });
	let heardAt = 0;

	function set(task) {
		const parts = progressOf(task), bar = element.querySelector('progress');
		element.hidden = parts === null;
		/* The same element goes on, so that it moves. */
		if (parts !== null && bar !== null && parts[0]) {
			Object.assign(bar, { max: parts[0].max, value: parts[0].value });
			setText(element.querySelector('span'), parts[1].textContent);
		} else {
			replace(element, parts);
		}
	}
	return {
		element,
		/* `asked`: when, by performance.now(). An event that came since knows better how far the task is. */
		show(task, asked) {
			if (task.state !== 'running' || asked > heardAt)
				set(task);
		},
		/* An event that lags behind what was answered meanwhile does not take the bar back. */
		hear(progress) {
			const bar = element.querySelector('progress');
			if (progress.total === 0 || (bar?.max === progress.total && bar.value > progress.done))
				return;
			heardAt = performance.now();
			set({ state: 'running', progress });
		},
	};
}

const exitOf = (attempt) => (attempt.signal || attempt.exit_code ? format.exitOf(attempt.signal, attempt.exit_code) : '–');

const attemptsTable = () => table({ id: 'attempts', caption: 'Attempts', key: (attempt) => attempt.number, empty: 'None is written down.', columns: [
	{ name: '#', class: 'number', cell: (attempt) => String(attempt.number) },
	{ name: 'Outcome', cell: (attempt) => h('span', { class: `state ${(attempt.outcome || 'running').replace(' ', '_')}` }, attempt.outcome ?? 'running') },
	{ name: 'Started', cell: (attempt) => (attempt.started ? format.timeOfDay(attempt.started) : '–') },
	{ name: 'Took', class: 'number', cell: (attempt) => (attempt.ended && attempt.started ? format.between(format.ms(attempt.started), format.ms(attempt.ended)) : format.since(attempt.started)) },
	{ name: 'Message', class: 'wide', cell: (attempt) => (attempt.above ? h('span', { class: 'dim' }, 'as above') : attempt.message ?? '') },
	{ name: 'Verdict', cell: (attempt) => attempt.verdict ?? '–' },
	{ name: 'Exit', cell: exitOf },
	{ name: 'Peak memory', class: 'number', cell: (attempt) => format.bytesFromKb(attempt.peak_memory_kb) },
	{ name: 'Process', class: 'number', cell: (attempt) => (attempt.worker_pid ? String(attempt.worker_pid) : '–') },
] });

/* The message that stands above all is not said again by the attempt that left it. */
function attemptsOf(task) {
	const list = task.attempts ?? [];
	const last = list.at(-1);
	return last?.message && last.message === task.error ? [...list.slice(0, -1), { ...last, above: true }] : list;
}

function attemptsView() {
	const list = attemptsTable(), before = h('p', { class: 'dim small', id: 'attempts-before' });
	const element = h('section', { 'aria-labelledby': 'attempts-title' }, h('h2', { id: 'attempts-title' }, 'Attempts'), list.element, before);
	return {
		element,
		show(task) {
			const first = task.attempts?.[0]?.number ?? 1;
			element.hidden = task.attempts === undefined;
			list.set(attemptsOf(task));
			setText(before, first > 1 ? `${first === 2 ? '1 attempt' : `${first - 1} attempts`} before these are not shown.` : '');
		},
	};
}

function logView() {
	const lines = h('ol', { class: 'log', id: 'log', tabindex: 0, 'aria-label': 'Log' }), note = h('p', { class: 'dim small' });
	let shown = 0, first = '';
	return {
		element: h('section', { 'aria-labelledby': 'log-title' }, h('h2', { id: 'log-title' }, 'Log'), lines, note),
		set(log, dropped) {
			const atEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 4;
			const head = log.length > 0 ? log[0].at + log[0].text : '';
			if (head !== first || log.length < shown) {
				lines.replaceChildren();
				shown = 0;
			}
			first = head;
			/* The attempt is said where it changes. */
			for (; shown < log.length; shown++) {
				const line = log[shown];
				if (shown === 0 || log[shown - 1].attempt !== line.attempt)
					lines.append(h('li', { class: 'attempt' }, `attempt ${line.attempt}`));
				lines.append(h('li', { class: line.level, 'data-level': line.level }, format.timeOfDay(line.at), ' ', h('b', null, line.level), ' ', h('span', null, line.text)));
			}
			setText(note, dropped > 0 ? `${format.count(dropped)} more lines were not kept.` : log.length === 0 ? 'Nothing was logged.' : '');
			if (atEnd)
				lines.scrollTop = lines.scrollHeight;
		},
	};
}

function siblings(task) {
	const others = (task.siblings ?? []).filter((each) => each.id !== task.id);
	if (others.length === 0)
		return null;
	return h('section', { id: 'siblings', 'aria-labelledby': 'siblings-title' }, h('h2', { id: 'siblings-title' }, 'The request’s other tasks'),
		h('ul', { class: 'plain' }, others.map((each) => h('li', null, each.state && format.state(each.state), ' ', h('a', { href: `#/tasks/${each.id}` }, each.handler ?? each.id), ' ',
			h('code', { class: 'dim small' }, format.shortId(each.id))))));
}

/* The server's sentence; its times are ours. */
const explanationOf = (text) => text.split(/(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)/).map((part, i) => (i % 2 === 0 ? part : format.fullTime(part)));

/* Whether what is said to run does: nothing does while taskd is dead, and nobody knows while it hangs. */
const isWell = (stats) => stats === null || ['running', 'draining'].includes(stats.taskd.state);

/* Way back, name, state and what can be done with it. */
function topView(how, done) {
	const element = h('div');
	let shown = '';

	const fill = (task) => replace(element, h('nav', { class: 'crumbs', 'aria-label': 'Way back' }, h('a', { href: '#/tasks' }, 'Tasks'), ' / ', h('a', { href: `#/tasks?handler=${encodeURIComponent(task.handler)}` }, task.handler)),
		heading(task.handler, h('span', { id: 'task-state' }, format.state(task.state)), task.cancelling && h('span', { class: 'state cancelled' }, 'being cancelled'), how,
			h('span', { class: 'spacer' }), h('span', { class: 'group' }, actions(task, done))),
		h('p', { class: 'dim small' }, h('code', { id: 'task-id' }, task.id)));
	return {
		element,
		/* Left alone while it is the same: somebody may be about to press a button, or be asked about it. */
		show(task) {
			const now = JSON.stringify([task.state, task.cancelling, task.handler, task.arguments !== undefined, api.may('steer')]);
			if (now !== shown)
				keepFocus(element, () => fill(task));
			shown = now;
		},
	};
}

export function task(query, { signal, argument: id, lookAgain, isLive }) {
	const how = h('span', { class: 'dim small', id: 'task-live' });
	const top = topView(how, () => setTimeout(lookAgain, 300)), progress = progressView(), attempts = attemptsView(), log = logView();
	const why = h('p', { class: 'why', id: 'why', role: 'status' }), error = h('p', { class: 'error-text', id: 'task-error' });
	const line = h('div'), details = h('div'), data = h('div', { class: 'columns' }), others = h('div');
	const nothing = h('p', { class: 'empty' }, 'Looking…');
	const element = h('div', { id: 'task', 'data-task': id }, nothing);
	let close = null, soon = null, isOver = false, shownData = '', shownWhy = '', well = isWell(series.latest());

	/* Of one that is over, or runs, it is said already. */
	function showWhy(task) {
		const explained = ENDED.includes(task.state) || (task.state === 'running' && well) ? '' : task.explanation ?? '';
		if (explained !== shownWhy)
			replace(why, explanationOf(explained));
		shownWhy = explained;
		why.hidden = explained === '';
	}
	function showData(task) {
		const json = JSON.stringify([task.arguments, task.result]);
		if (json !== shownData)
			replace(data, task.arguments !== undefined && jsonView('arguments', 'Arguments', task.arguments), jsonView('result', 'Result', task.result));
		shownData = json;
	}
	function show(task, asked) {
		if (nothing.isConnected)
			replace(element, top.element, why, progress.element, error, line, details, attempts.element, log.element, data, others);
		element.dataset.state = task.state;
		top.show(task);
		showWhy(task);
		progress.show(task, asked);
		setText(error, task.error ?? '');
		error.hidden = !task.error;
		error.classList.toggle('quiet', ['cancelled', 'succeeded', 'running'].includes(task.state));
		replace(line, timeline(task));
		keepFocus(details, () => replace(details, facts(task)));
		attempts.show(task);
		log.set(task.log, task.log_dropped);
		showData(task);
		keepFocus(others, () => replace(others, siblings(task)));
	}
	function onEvent(kind, said) {
		if (kind === 'progress' && said?.progress)
			progress.hear(said.progress);
		clearTimeout(soon);
		soon = setTimeout(lookAgain, kind === 'progress' ? 500 : 50);
	}
	/* A stream holds one of the few connections that a browser has for all tabs with this server's pages. */
	function rest() {
		clearTimeout(soon);
		close?.();
		close = null;
		setText(how, '');
	}
	/* It is not there, and will not come. */
	function onRefusal(refusal) {
		if (refusal.status === 404) {
			setText(nothing, 'There is nothing to show.');
			view.every_ms = 0;
		}
		throw refusal;
	}
	const view = {
		element, every_ms: POLL_MS,
		onStats(stats) {
			if (isWell(stats) !== well)
				lookAgain();
			well = isWell(stats);
		},
		async look() {
			const asked = performance.now();
			const answer = await api.get(`tasks/${id}`, null, signal).catch(onRefusal);
			show(answer, asked);
			isOver = ENDED.includes(answer.state);
			view.every_ms = isOver ? 10000 : POLL_MS;
			if (!isOver && close === null && isLive() && !signal.aborted)
				close = follow(id, onEvent, (state) => { setText(how, state === 'live' ? 'live' : ''); view.every_ms = state === 'live' ? 5000 : POLL_MS; });
			if (isOver)
				rest();
		},
		rest, leave: rest,
	};
	return view;
}
