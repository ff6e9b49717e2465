/*
 * What changes tasks and queues: asks first, then does it, then says what came of it. One task, the selected ones, or
 * all that match a filter; the last in bounded steps that go on with a cursor.
 */
import * as api from './api.js';
import { byId, setText, toast } from './dom.js';
import { count, exact } from './format.js';

const COUNT_STEPS_MAX = 20;

export const ACTIONS = {
	retry: { label: 'Retry', verb: 'Queue again', text: 'With as many attempts as at first.', states: ['dead'] },
	run: { label: 'Run now', verb: 'Run now', text: 'Due at once, and in turn with the rest of the queue.', states: ['scheduled', 'retrying'] },
	cancel: { label: 'Cancel', verb: 'Cancel', text: 'What waits never starts; what runs is told to stop, then terminated, then killed.',
		states: ['queued', 'scheduled', 'retrying', 'running'], danger: true },
	discard: { label: 'Discard', verb: 'Discard', text: 'Ends as cancelled, and does not run again.',
		states: ['dead', 'queued', 'scheduled', 'retrying'], danger: true },
};

export const allows = (name, state) => ACTIONS[name].states.includes(state);

/* Opens a dialog; answers with its return value when it is closed. */
export function ask(dialog, first) {
	return new Promise((resolve) => {
		dialog.returnValue = '';
		dialog.addEventListener('close', () => resolve(dialog.returnValue), { once: true });
		dialog.showModal();
		first?.focus();
	});
}

/* True: yes. */
export async function confirm(title, text, yes, danger) {
	setText(byId('confirm-title'), title);
	setText(byId('confirm-text'), text);
	setText(byId('confirm-yes'), yes);
	byId('confirm-yes').classList.toggle('danger', Boolean(danger));
	return (await ask(byId('confirm'), byId('confirm-no'))) === 'ok';
}

function failed(error) {
	toast(error.status === 401 || error.status === 403 ? `${error.message} (log in with a token that may steer)` : error.message, true);
	return false;
}

const send = (name, id) => (name === 'cancel' ? api.remove(`tasks/${id}`) : api.post(`tasks/${id}/${name}`));

/* Whether it was asked for. */
export async function actOnOne(name, task) {
	const action = ACTIONS[name];
	if (!(await confirm(`${action.label}: ${task.handler}?`, `Task ${task.id}. ${action.text}`, action.verb, action.danger)))
		return false;
	try {
		await send(name, task.id);
	} catch (error) {
		return failed(error);
	}
	toast(`${action.label}: asked for`);
	return true;
}

/* `tasks` are rows as the list shows them; those in a state that does not fit are left out. */
export async function actOnSelected(name, tasks) {
	const action = ACTIONS[name];
	const fitting = tasks.filter((task) => allows(name, task.state));
	if (fitting.length === 0) {
		toast(`None of the selected tasks is ${action.states.join(' or ')}`, true);
		return false;
	}
	const left = tasks.length - fitting.length;
	if (!(await confirm(`${action.label}: ${count(fitting.length)} selected?`,
		`${action.text}${left ? ` ${left} more are in a state that does not allow it and stay as they are.` : ''}`, action.verb, action.danger)))
		return false;
	const results = await Promise.allSettled(fitting.map((task) => send(name, task.id)));
	const refused = results.filter((result) => result.status === 'rejected');
	if (refused.length > 0)
		failed(refused[0].reason);
	toast(`${action.label}: asked for ${count(fitting.length - refused.length)} of ${count(fitting.length)}`);
	return true;
}

/* How many match; where that takes too many steps, how many at least: { matched, more }. */
async function countMatching(path, filter) {
	let matched = 0, cursor = null;
	for (let steps = 0; steps < COUNT_STEPS_MAX; steps++) {
		const step = await api.post(path, undefined, { ...filter, cursor, dry_run: 'true' });
		matched += step.matched;
		cursor = step.next;
		if (cursor === null)
			break;
	}
	return { matched, more: cursor !== null };
}

/* All that match, page after page. `filter` as GET /tasks takes it. */
export async function actOnMatching(name, filter, described) {
	const action = ACTIONS[name];
	const path = `tasks/${name}`;
	let found;
	try {
		found = await countMatching(path, filter);
	} catch (error) {
		return failed(error);
	}
	if (found.matched === 0 && !found.more) {
		toast(`${action.label}: nothing matches that is ${action.states.join(' or ')}`, true);
		return false;
	}
	const many = `${found.more ? 'At least ' : ''}${exact(found.matched)} task${found.matched === 1 && !found.more ? ' matches' : 's match'}`;
	if (!(await confirm(`${action.label}: all that match?`, `${many} now (${described}). ${action.text}`, action.verb, action.danger)))
		return false;
	let asked = 0;
	let cursor = null, line = null;
	try {
		do {
			const step = await api.post(path, undefined, { ...filter, cursor });
			asked += step.asked;
			cursor = step.next;
			if (cursor)
				line = toast(`${action.label}: asked for ${count(asked)} so far`, false, line);
		} while (cursor);
	} catch (error) {
		failed(error);
	}
	toast(`${action.label}: asked for ${count(asked)}`, false, line);
	return asked > 0;
}

export async function pauseQueue(queue, resume) {
	const title = resume ? `Resume queue ${queue.name}?` : `Pause queue ${queue.name}?`;
	const text = resume ? 'Its waiting tasks start as workers become free.' : 'What runs goes on; what waits does not start until it is resumed, also after a restart.';
	if (!(await confirm(title, text, resume ? 'Resume' : 'Pause', !resume)))
		return false;
	try {
		await api.post(`queues/${encodeURIComponent(queue.name)}/${resume ? 'resume' : 'pause'}`);
	} catch (error) {
		return failed(error);
	}
	toast(`Queue ${queue.name}: asked to ${resume ? 'resume' : 'pause'}`);
	return true;
}

/* A new task's id. A dead one is replaced by it, which keeps its options and its secrets; of any other it is a copy. */
async function addEdited(task, args) {
	if (task.state === 'dead')
		return (await api.post(`tasks/${task.id}/retry`, { args })).new.id;
	const answer = await api.post('tasks', { handler: task.handler, args, queue: task.queue, max_attempts: task.max_attempts,
		...(task.on_failure ? { on_failure: task.on_failure } : {}) });
	if (byId('edit-discard').checked && allows('discard', task.state))
		await send('discard', task.id);
	return answer.tasks[0].id;
}

/* A new task with edited arguments. Answers its id, or null. */
export async function editAndRetry(task) {
	const dialog = byId('edit'), text = byId('edit-arguments'), fault = byId('edit-fault');
	const isDead = task.state === 'dead';
	text.value = JSON.stringify(task.arguments ?? {}, null, 2);
	const hidden = text.value.includes('"***"');
	setText(byId('edit-text'), isDead ? `A task like this one is added with these arguments, and this one is discarded.${hidden ? ' What reads "***" stays what it was.' : ''}` :
		'A new task is added with these arguments.');
	byId('edit-discard').parentElement.hidden = isDead || !allows('discard', task.state);
	setText(fault, hidden && !isDead ? 'Secret values are shown as "***": put the real ones in.' : '');
	for (;;) {
		if ((await ask(dialog, text)) !== 'ok')
			return null;
		let edited;
		try {
			edited = JSON.parse(text.value);
		} catch (error) {
			setText(fault, `This is not JSON: ${error.message}`);
			continue;
		}
		try {
			const id = await addEdited(task, edited);
			toast('A new task was added');
			return id;
		} catch (error) {
			setText(fault, error.message);
		}
	}
}
