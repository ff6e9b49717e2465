/* Numbers, durations and times for people. */
import { h } from './dom.js';

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });
const local = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });

export const count = (number) => (Math.abs(number) < 100000 ? whole.format(number) : short.format(number));
export const exact = (number) => whole.format(number);

export function rate(perSecond) {
	if (perSecond === 0)
		return '0/s';
	if (perSecond < 0.1)
		return `${(perSecond * 60).toPrecision(2)}/min`;
	return `${perSecond < 10 ? perSecond.toFixed(1) : count(perSecond)}/s`;
}

/* The same for the marks of a scale, which lie `step` apart: as many places as tell one from the next. */
export function rateMark(perSecond, step) {
	let places = 0;
	while (places < 6 && Math.abs(step * 10 ** places - Math.round(step * 10 ** places)) > 1e-6)
		places++;
	return perSecond === 0 ? '0/s' : `${places > 0 ? perSecond.toFixed(places) : count(perSecond)}/s`;
}

const number = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/\.0+$/, '');

export function duration(ms) {
	if (ms === null || ms === undefined || Number.isNaN(ms))
		return '–';
	if (ms === 0)
		return '0';
	if (ms < 0.001)
		return `${number(ms * 1e6)} ns`;
	if (ms < 1)
		return `${number(ms * 1000)} µs`;
	if (ms < 1000)
		return `${number(ms)} ms`;
	const s = ms / 1000;
	if (s < 60)
		return `${number(s)} s`;
	const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
	const first = parts.findIndex(([size]) => s >= size);
	const [size, unit] = parts[first];
	const rest = parts[first + 1];
	const more = rest ? Math.floor((s % size) / rest[0]) : 0;
	return `${Math.floor(s / size)} ${unit}${more ? ` ${more} ${rest[1]}` : ''}`;
}

/* The same for the marks of a scale, which are powers of ten. */
export const durationMark = (ms) => (ms < 1000 ? duration(ms) : `${whole.format(ms / 1000)} s`);

/* Between two times that are known to the millisecond. */
export const between = (from, to) => (to - from < 1 ? '< 1 ms' : duration(to - from));

export const durationNs = (ns) => duration(ns / 1e6);

export function bytesFromKb(kb) {
	if (!kb)
		return '–';
	return kb < 1024 ? `${number(kb)} KB` : kb < 1048576 ? `${number(kb / 1024)} MB` : `${number(kb / 1048576)} GB`;
}

export function bytes(value) {
	return value < 1024 ? `${value} B` : bytesFromKb(value / 1024);
}

export const percent = (part, all) => (all > 0 ? `${number((100 * part) / all)} %` : '–');

/* Which attempt of how many; of a task that was given more, only which. */
export const attempt = (task, of) => (task.attempt <= task.max_attempts ? `${task.attempt}${of}${task.max_attempts}` : String(task.attempt));

const SIGNALS = { 4: 'SIGILL', 6: 'SIGABRT', 7: 'SIGBUS', 8: 'SIGFPE', 9: 'SIGKILL', 11: 'SIGSEGV', 15: 'SIGTERM', 24: 'SIGXCPU' };
/* How a process ended. */
export const exitOf = (signal, code) => (signal ? (SIGNALS[signal] ?? `signal ${signal}`) : `exit ${code}`);

export const shortId = (id) => id.slice(-12);

/* When an id was made, as a time in an answer: its first 48 bits are ms since 1970. */
export const timeOfId = (id) => new Date(parseInt(id.replaceAll('-', '').slice(0, 12), 16)).toISOString();

/* ms since 1970 of a time in an answer: RFC 3339, or null. */
export const ms = (text) => (text ? Date.parse(text) : null);

function relative(at) {
	const away = Date.now() - at;
	if (Math.abs(away) < 1500)
		return 'now';
	const text = duration(Math.floor(Math.abs(away) / 1000) * 1000);
	return away > 0 ? `${text} ago` : `in ${text}`;
}

/* "12 s ago", kept right by tickTimes(); the whole time as its title. */
export function when(text, none = '–') {
	if (!text)
		return none;
	return h('time', { datetime: text, title: local.format(Date.parse(text)), 'data-relative': '' }, relative(Date.parse(text)));
}

/* How long since then, as a duration that goes on. */
export function since(text) {
	return text ? h('time', { datetime: text, title: local.format(Date.parse(text)), 'data-since': '' }, duration(Math.max(0, Date.now() - Date.parse(text)))) : '–';
}

export const timeOfDay = (text) => h('time', { datetime: text, title: local.format(Date.parse(text)) }, clock.format(Date.parse(text)));
export const fullTime = (text) => (text ? h('time', { datetime: text }, local.format(Date.parse(text))) : '–');

export function tickTimes(root) {
	for (const element of root.querySelectorAll('time[data-relative], time[data-since]')) {
		const at = Date.parse(element.dateTime);
		const text = 'since' in element.dataset ? duration(Math.floor(Math.max(0, Date.now() - at) / 100) * 100) : relative(at);
		if (element.textContent !== text)
			element.textContent = text;
	}
}

export const state = (name) => h('span', { class: `state ${name}`, 'data-state': name }, name);
