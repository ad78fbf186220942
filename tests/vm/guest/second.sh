#!/bin/sh
# The second program: the folders that a system has, then the agent that does what the tests ask for.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
export PYTHONPATH=/srv/code:/opt/site PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o size=64m,mode=1777 tmpfs /tmp
mount -t tmpfs -o size=16m,mode=755 tmpfs /run
mkdir -p /run/netns /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount --make-rshared /
ip link set lo up
if grep -q guardian.shell /proc/cmdline; then
    echo "This is the emulated router. Guardian is in /srv/code, its settings in /srv/guardian. \`exit\` ends it."
    setsid sh -c 'exec sh -l </dev/ttyAMA0 >/dev/ttyAMA0 2>&1'
else
    python3 -X faulthandler -m tests.vm.guest.agent
fi
sync
busybox poweroff -f
