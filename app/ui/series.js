/*
 * What GET /stats has said in the last minutes: totals come in, rates and quantiles of each step go out. Kept while
 * the page lives, whichever view is shown; nothing is asked of the server for it twice.
 */

const POINTS_MAX = 200;
const GAP_MS = 15000; /* a longer step was a pause: nothing is drawn over it */

const FAILED = ['attempt_failed', 'attempt_timeout', 'attempt_crashed', 'attempt_killed', 'attempt_bad_arguments'];
export const failedOf = (counters) => FAILED.reduce((sum, name) => sum + counters[name], 0);

export const QUANTILES = [['p50', 0.5], ['p99', 0.99], ['p999', 0.999]];

let last = null;
const points = [];

/* Buckets of the values between two looks: [[upper limit, count]…], the lowest first. */
function bucketsBetween(before, after) {
	const counts = new Map(before.map(({ le, count }) => [le, count]));
	return after.map(({ le, count }) => [le, count - (counts.get(le) ?? 0)]).filter(([, count]) => count > 0);
}

/* The least limit that the wanted part of the values does not exceed; null: there are none. */
function quantile(buckets, part) {
	const all = buckets.reduce((sum, [, count]) => sum + count, 0);
	let seen = 0;
	for (const [le, count] of buckets) {
		seen += count;
		if (seen >= all * part)
			return le;
	}
	return null;
}

function quantiles(before, after) {
	const buckets = bucketsBetween(before.buckets, after.buckets);
	return Object.fromEntries(QUANTILES.map(([name, part]) => {
		const ns = quantile(buckets, part);
		return [name, ns === null ? null : ns / 1e6];
	}));
}

function pointOf(before, after) {
	const seconds = (after.timestamp_ms - before.timestamp_ms) / 1000;
	const perSecond = (name) => (after.counters[name] - before.counters[name]) / seconds;
	return {
		at_s: after.timestamp_ms / 1000,
		accepted: perSecond('task_accepted'),
		succeeded: perSecond('task_succeeded'),
		failed: (failedOf(after.counters) - failedOf(before.counters)) / seconds,
		wait: quantiles(before.histograms.wait_ns, after.histograms.wait_ns),
		run: quantiles(before.histograms.run_ns, after.histograms.run_ns),
	};
}

const gap = (at_ms) => ({ at_s: at_ms / 1000, accepted: null, succeeded: null, failed: null, wait: {}, run: {} });

export function push(stats) {
	const before = last;
	last = stats;
	if (before === null || stats.timestamp_ms <= before.timestamp_ms)
		return;
	/* A board made anew counts from zero. */
	const anew = stats.counters.task_accepted < before.counters.task_accepted;
	if (anew || stats.timestamp_ms - before.timestamp_ms > GAP_MS)
		points.push(gap(stats.timestamp_ms));
	else
		points.push(pointOf(before, stats));
	if (points.length > POINTS_MAX)
		points.shift();
}

export const latest = () => last;
export const newest = () => points.at(-1) ?? null;
export const column = (read) => points.map((point) => read(point) ?? null);
export const times = () => points.map((point) => point.at_s);
