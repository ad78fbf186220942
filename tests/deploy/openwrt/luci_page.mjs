// Runs a LuCI view without LuCI: small stand-ins for the modules that it requires. Reads {page, health, uci, words} as
// JSON from stdin, and prints what the page shows before and after a poll: texts and links.
import { readFileSync } from 'node:fs';

const given = JSON.parse(readFileSync(0, 'utf8'));

String.prototype.format = function (...values) {
	return this.replace(/%([sdt])/g, (_, kind) => {
		const value = values.shift();
		return kind === 't' ? `${Math.floor(value / 3600)}h` : String(value);
	});
};
const E = (tag, attributes, children) => ({ tag, attributes, children: [].concat(children ?? []) });
const translate = (text) => {
	if (!(text in given.words)) throw new Error(`no translation for: ${text}`);
	return given.words[text];
};
const answers = [...given.health];
let polled = null;
const modules = {
	view: { extend: (made) => made },
	rpc: {
		declare: ({ object, method }) => () => {
			if (object !== 'guardian' || method !== 'health') throw new Error(`the ACL does not allow ${object}.${method}`);
			const answer = answers.shift();
			return answer === 'broken' ? Promise.reject(new Error('no such object')) : Promise.resolve(answer);
		}
	},
	uci: {
		load: (name) => (name === 'guardian' ? Promise.resolve(name) : Promise.reject(new Error('the ACL does not allow it'))),
		get_first: (name, type, option) => given.uci[type]?.[option] ?? null
	},
	poll: { add: (call) => (polled = call) },
	dom: { content: (node, children) => (node.children = children) }
};
const L = { resolveDefault: (promise, value) => promise.catch(() => value) };
const source = readFileSync(given.page, 'utf8');
const required = [...source.matchAll(/^'require (\w+)';$/gm)].map((found) => found[1]);
const page = new Function(...required, 'E', '_', 'L', 'window', source)(
	...required.map((name) => modules[name]), E, translate, L, { location: { hostname: '192.168.1.1' } }
);

const texts = (node) => (typeof node === 'string' ? [node] : (node?.children ?? []).flatMap(texts));
const links = (node) => [
	...(node?.attributes?.href ? [node.attributes.href] : []),
	...(node?.children ?? []).flatMap(links)
];
const shown = page.render(await page.load());
const first = { texts: texts(shown), links: links(shown) };
await polled();
console.log(JSON.stringify({ first, then: { texts: texts(shown), links: links(shown) }, saves: page.handleSave }));
