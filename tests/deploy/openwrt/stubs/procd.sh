# The tests' own procd.sh: what is called is written down, and `procd-message` makes of it what procd would be sent.
CALLS="/tmp/procd/calls.$$"
mkdir -p /tmp/procd

note_call() {
	printf '%s\037' "$@" >>"$CALLS"
	printf '\n' >>"$CALLS"
}

for name in procd_open_instance procd_close_instance procd_set_param procd_append_param procd_add_jail \
	procd_add_jail_mount procd_add_jail_mount_rw procd_open_trigger procd_close_trigger procd_add_reload_trigger \
	procd_add_config_trigger json_add_array json_close_array json_add_object json_close_object json_add_string \
	json_add_boolean json_add_int; do
	eval "$name() { note_call $name \"\$@\"; }"
done

procd_open_service() {
	rm -f "$CALLS"
	note_call procd_open_service "$@"
}

procd_close_service() {
	procd_open_trigger
	service_triggers
	procd_close_trigger
	if type service_data >/dev/null 2>&1; then
		note_call procd_open_data
		service_data
		note_call procd_close_data
	fi
	ubus call service set "$(procd-message "$CALLS")"
	rm -f "$CALLS"
}

procd_kill() {
	ubus call service delete "{\"name\": \"$1\", \"instance\": \"$2\"}"
}

procd_send_signal() {
	ubus call service signal "{\"name\": \"$1\", \"instance\": \"$2\", \"signal\": \"$3\"}"
}

procd_set_config_changed() {
	ubus call service event "{\"type\": \"config.change\", \"data\": {\"package\": \"$1\"}}"
}

procd_running() {
	[ -e "/tmp/procd/running/$2" ]
}

_procd_status() {
	ls /tmp/procd/running
}
