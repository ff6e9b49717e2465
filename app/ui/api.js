/*
 * The interface, as the dashboard uses it. Paths are relative to the place above the dashboard's, so that it works
 * wherever the web server has put it. Who is logged in stands in a cookie that scripts cannot read.
 */

const base = new URL('../', document.baseURI);

export class ApiError extends Error {
	constructor(status, message) {
		super(message);
		this.status = status;
	}
}

export function url(path, parameters) {
	const address = new URL(path.replace(/^\//, ''), base);
	for (const [name, value] of parametersOf(parameters))
		address.searchParams.append(name, value);
	return address;
}

/* Empty ones are left out; a list is sent as a=1&a=2. */
function parametersOf(parameters) {
	return Object.entries(parameters ?? {}).flatMap(([name, value]) =>
		(Array.isArray(value) ? value : [value]).filter((each) => each !== undefined && each !== null && each !== '').map((each) => [name, each]));
}

function sentence(body, status) {
	if (typeof body?.detail === 'string')
		return body.detail;
	if (Array.isArray(body?.detail))
		return body.detail.map((fault) => `${(fault.loc ?? []).slice(1).join('.') || 'body'}: ${fault.msg}`).join('; ');
	return `the server answered ${status}`;
}

async function call(method, address, body, signal) {
	let answer;
	/* The second says that it is a page of ours that asks: another site's cannot send it without being let. */
	const headers = { Accept: 'application/json', 'X-Requested-With': 'taskring' };
	if (body !== undefined)
		headers['Content-Type'] = 'application/json';
	try {
		answer = await fetch(address, { method, headers, signal, credentials: 'same-origin', cache: 'no-store',
			body: body === undefined ? undefined : JSON.stringify(body) });
	} catch (error) {
		if (error.name === 'AbortError')
			throw error;
		throw new ApiError(0, 'the server does not answer');
	}
	const json = await answer.json().catch(() => null);
	if (!answer.ok)
		throw new ApiError(answer.status, sentence(json, answer.status));
	/* Broken off, or of something that stands before the server. */
	if (json === null && answer.status !== 204)
		throw new ApiError(answer.status, 'the server’s answer cannot be read');
	return json;
}

export const get = (path, parameters, signal) => call('GET', url(path, parameters), undefined, signal);
export const post = (path, body, parameters) => call('POST', url(path, parameters), body);
export const remove = (path) => call('DELETE', url(path));

/* The cursor in the path of a next page. */
export const cursorOf = (next) => (next ? new URL(next, base).searchParams.get('cursor') : null);

/* ---- who one is -------------------------------------------------------------------------- */

const session = { who: null, rights: [], canLogIn: false };

/* Where that cannot be asked, nothing is offered that steers. */
export async function readSession() {
	try {
		const answer = await get('session');
		Object.assign(session, { who: answer.name, rights: answer.rights, canLogIn: answer.login });
	} catch {
		Object.assign(session, { who: null, rights: ['read'], canLogIn: true });
	}
	return session;
}

export const may = (right) => session.rights.includes(right);
export const logIn = (token) => post('login', { token });
export const logOut = () => post('logout');
