#!/bin/busybox sh
# The first program of the emulated router: loads what it takes to reach the disks, and goes on there.
set -e
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
while read -r module; do
    /bin/busybox insmod "/modules/$module" || echo "not loaded: $module"
done </modules/order
disk() { # the device with this serial number
    for block in /sys/block/vd*; do
        if [ "$(/bin/busybox cat "$block/serial")" = "$1" ]; then
            echo "/dev/${block##*/}"
            return
        fi
    done
    /bin/busybox sleep 1
}
system=$(disk system)
/bin/busybox mount -t ext4 -o ro "$system" /root
/bin/busybox mount -t ext4 -o noatime "$(disk work)" /root/srv
/bin/busybox mount -t devtmpfs devtmpfs /root/dev
/bin/busybox umount /proc /sys
exec /bin/busybox switch_root /root /usr/sbin/guest
