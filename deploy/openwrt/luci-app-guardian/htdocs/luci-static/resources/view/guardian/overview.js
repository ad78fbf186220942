'use strict';
'require view';
'require rpc';
'require uci';
'require poll';
'require dom';

// How Guardian is: the ubus object `guardian`, whose health object deploy/isp/health.schema.json describes. It tells
// nothing of the home. What parents set is in Guardian's own console, and this page leads there.

const SECONDS = 10;
const UNKNOWN = -1;

const callHealth = rpc.declare({ object: 'guardian', method: 'health' });

const STATES = {
	'ok': _('It protects the home.'),
	'attention': _('It runs, and something needs attention.'),
	'down': _('It does not run. Names may be unfiltered.')
};

const PROBLEMS = {
	'settings-broken': _('The settings have a mistake: see the log.'),
	'gateway-down': _('The filter does not run.'),
	'gateway-silent': _('The filter does not answer.'),
	'upstreams-down': _('No DNS server of the provider answers.'),
	'answers-failing': _('Many DNS questions get no answer.'),
	'filter-behind': _('The rules for connections are not in force.'),
	'lists-refused': _('A list cannot be read.'),
	'lists-starter': _('No list was ever fetched: the built-in names hold.'),
	'lists-old': _('The lists are old.'),
	'reload-refused': _('A change was refused; what was set before holds.'),
	'history-off': _('The history is not written.'),
	'restart-needed': _('A new version is installed: restart Guardian.'),
	'feed-never': _('The hotline\'s list was never fetched.'),
	'feed-refused': _('The hotline\'s list was refused.'),
	'feed-stale': _('The hotline\'s list is old.'),
	'feed-not-enforced': _('The hotline\'s list is here, but not in force.'),
	'clock-unset': _('The clock is wrong: times of day do not hold yet.'),
	'memory-low': _('Little memory is free.'),
	'flash-read-only': _('The flash cannot be written.'),
	'flash-low': _('Little flash is free.')
};

const FEED = {
	'none': _('not set up'),
	'ok': _('up to date'),
	'stale': _('old'),
	'never': _('never fetched'),
	'refused': _('refused')
};

function count(number) {
	return number == UNKNOWN ? '–' : String(number);
}

function age(seconds) {
	return seconds < 0 ? '–' : '%t'.format(seconds);
}

function size(kilobytes) {
	return kilobytes == UNKNOWN ? '–' : '%d MB'.format(Math.round(kilobytes / 1024));
}

function filterState(filter) {
	if (!filter.enabled)
		return _('switched off: DNS only');
	return filter.in_force ? _('in force') : _('not in force');
}

function row(title, value) {
	return E('tr', { 'class': 'tr' }, [
		E('td', { 'class': 'td left', 'width': '33%' }, [ title ]),
		E('td', { 'class': 'td left' }, [ value ])
	]);
}

function describe(health) {
	if (health == null || health.schema !== 1)
		return [ E('div', { 'class': 'alert-message error' }, [ _('Guardian gives no answer.') ]) ];

	const kind = health.state == 'ok' ? 'success' : health.state == 'attention' ? 'warning' : 'error';
	const said = [ E('div', { 'class': 'alert-message ' + kind }, [ STATES[health.state] || health.state ]) ];

	if (health.problems.length)
		said.push(E('ul', {}, health.problems.map(function(code) {
			return E('li', {}, [ PROBLEMS[code] || code ]);
		})));

	if (health.needs_update)
		said.push(E('p', {}, [
			_('The hotline asks for version %s or newer: ask your provider.').format(health.minimum_version)
		]));

	said.push(E('table', { 'class': 'table' }, [
		row(_('Version'), health.version),
		row(_('Runs for'), age(health.gateway.uptime_seconds)),
		row(_('Connections'), filterState(health.filter)),
		row(_('DNS servers that answer'), '%s / %s'.format(count(health.upstreams.healthy), count(health.upstreams.configured))),
		row(_('Names on the lists'), count(health.lists.entries)),
		row(_('Lists made'), age(health.lists.age_seconds)),
		row(_('Hotline\'s list'), FEED[health.feed.state] || health.feed.state),
		row(_('Memory of the filter'), size(health.gateway.private_kb)),
		row(_('Free flash'), size(health.machine.flash_free_kb))
	]));
	return said;
}

// The console listens on the router's own addresses: only the port and the scheme are in the settings.
function consoleAddress() {
	const listen = uci.get_first('guardian', 'web', 'listen');
	const first = Array.isArray(listen) ? listen[0] : listen;
	const port = /:(\d+)$/.exec(first || '');
	const secure = uci.get_first('guardian', 'web_tls', 'enabled') == '1';
	if (!port)
		return null;
	return '%s://%s:%s/'.format(secure ? 'https' : 'http', window.location.hostname, port[1]);
}

return view.extend({
	load: function() {
		return Promise.all([
			L.resolveDefault(callHealth(), null),
			L.resolveDefault(uci.load('guardian'), null)
		]);
	},

	render: function(loaded) {
		const state = E('div', {}, describe(loaded[0]));
		const address = consoleAddress();

		poll.add(function() {
			return L.resolveDefault(callHealth(), null).then(function(health) {
				dom.content(state, describe(health));
			});
		}, SECONDS);

		return E('div', { 'class': 'cbi-map' }, [
			E('h2', {}, [ _('Guardian') ]),
			E('div', { 'class': 'cbi-map-descr' }, [
				_('Children, devices and rules are set in Guardian\'s own console, by parents. Here is only how it is.')
			]),
			address ? E('p', {}, [
				E('a', { 'class': 'btn cbi-button cbi-button-action', 'href': address, 'target': '_blank', 'rel': 'noreferrer' },
					[ _('Open the console') ])
			]) : '',
			state
		]);
	},

	handleSaveApply: null,
	handleSave: null,
	handleReset: null
});
