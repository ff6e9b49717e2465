/*
 * A task's stages as a bar: waiting, each attempt, the pauses between, what came after the last. With their times as a
 * list: the last ones, and what those before took together.
 */
import { h } from './dom.js';
import * as format from './format.js';

const LEAST_PART = 0.006; /* so that a stage of a microsecond is still there */
const SHOWN = 12;

const KINDS = { succeeded: 'succeeded', running: 'running', cancelled: 'cancelled', snoozed: 'scheduled', interrupted: 'cancelled' };
/* What is behind the last attempt, by the task's state: its name and its kind. */
const LAST = { queued: ['waiting', 'queued'], scheduled: ['scheduled', 'scheduled'], retrying: ['until the next attempt', 'retrying'],
	dead: ['verdict', 'dead'], cancelled: ['until cancelled', 'cancelled'], expired: ['until expired', 'expired'] };

/* [{ name, kind, from, to }], times in ms. */
function stagesOf(task) {
	const stages = [];
	const created = format.ms(task.created);
	const until = format.ms(task.ended) ?? Date.now();
	let at = created;
	const add = (name, kind, to) => {
		if (to !== null && to > at)
			stages.push({ name, kind, from: at, to });
		at = Math.max(at, to ?? at);
	};
	const attempts = (task.attempts ?? []).filter((each) => each.started);
	if (attempts.length === 0 && task.started)
		attempts.push({ number: task.attempt, started: task.started, ended: task.ended, outcome: task.ended ? task.state : null });
	const due = format.ms(task.due);
	const begins = attempts.length > 0 ? format.ms(attempts[0].started) : until;
	if (due !== null && due > created && due <= begins && task.attempt <= 1)
		add('until due', 'scheduled', due);
	attempts.forEach((attempt, i) => {
		const from = format.ms(attempt.started);
		if (i === 0 && attempt.number > 1)
			add(attempt.number === 2 ? 'attempt 1' : `attempts 1 to ${attempt.number - 1}`, 'retrying', from);
		else
			add(i === 0 ? 'waiting' : 'until the next attempt', i === 0 ? 'queued' : 'retrying', from);
		/* A run of less than a millisecond is one, too. */
		const to = attempt.ended ? format.ms(attempt.ended) : until;
		stages.push({ name: `attempt ${attempt.number}`, kind: KINDS[attempt.outcome ?? 'running'] ?? 'failed', from, to });
		at = Math.max(at, to);
	});
	if (LAST[task.state])
		add(...LAST[task.state], until);
	return stages;
}

export function timeline(task) {
	const stages = stagesOf(task);
	if (stages.length === 0)
		return null;
	const all = stages.reduce((sum, stage) => sum + (stage.to - stage.from), 0);
	const bars = stages.map((stage) => {
		const bar = h('i', { class: stage.kind, title: `${stage.name}: ${format.between(stage.from, stage.to)}` });
		/* Where all of it took less than a millisecond, each is as wide. */
		bar.style.flexGrow = all > 0 ? Math.max(LEAST_PART, (stage.to - stage.from) / all) : 1;
		return bar;
	});
	const earlier = Math.max(0, stages.length - SHOWN), shown = stages.slice(earlier);
	return h('section', { class: 'timeline', id: 'timeline', 'aria-label': 'Time line' }, h('div', { class: 'stages', 'aria-hidden': 'true' }, bars),
		h('ol', { class: 'legend' }, earlier > 0 && h('li', null, `${earlier} earlier `, h('b', null, format.between(stages[0].from, shown[0].from))),
			shown.map((stage) => h('li', null, h('i', { class: stage.kind, 'aria-hidden': 'true' }), `${stage.name} `, h('b', null, format.between(stage.from, stage.to))))));
}
