/*
 * A task's events as they come: the server's stream where there is one, else looking again every now and then. The
 * stream only says that something has happened (and how far the task is); what it is now is asked for.
 */
import { url } from './api.js';

export const POLL_MS = 1500;
/* From which no task comes back by itself. */
export const ENDED = ['succeeded', 'dead', 'cancelled', 'expired'];
const AGAIN_MS = 5000; /* after a stream that broke off */

/* onEvent(kind, data or null). Answers a function that ends it; onState('live' or 'polling') says how it is. */
export function follow(id, onEvent, onState) {
	let source = null, timer = null, ended = false;

	function open() {
		source = new EventSource(url(`tasks/${id}/events`));
		source.addEventListener('open', () => onState('live'));
		for (const kind of ['state', 'progress', 'log', 'missed', 'taskd'])
			source.addEventListener(kind, (event) => receive(kind, event.data));
		source.addEventListener('error', () => {
			onState('polling');
			/* CLOSED: refused, e.g. there is no such page; else the browser connects again by itself. */
			if (source.readyState === EventSource.CLOSED && !ended)
				timer = setTimeout(open, AGAIN_MS);
		});
	}
	function receive(kind, text) {
		let data = null;
		try {
			data = JSON.parse(text);
		} catch {
			/* What is no JSON still says that something has happened. */
		}
		onEvent(kind, data);
		/* The server ends the stream with the task; the browser would ask for it again. */
		if (kind === 'state' && ENDED.includes(data?.state))
			close();
	}
	function close() {
		ended = true;
		clearTimeout(timer);
		source?.close();
	}
	onState('polling');
	open();
	return close;
}
