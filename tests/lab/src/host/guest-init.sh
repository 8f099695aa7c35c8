#!/bin/bash
# PID 1 of the guest, after the initramfs: makes the shared root usable for LVM
# without udev or systemd, runs one verb of the lab, and powers off. bash,
# because as PID 1 it reaps whatever orphans it is given.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LC_ALL=C
. /out/env

# The binaries into the overlay, off 9p: a page fault must not wait for the host.
for program in lab cowherd; do
  [ ! -f /out/$program ] || install -m 755 /out/$program /usr/sbin/$program
done
mkdir -p /lib/modules && mount --bind "$LAB_MODULES" /lib/modules
# From here on the host's /tmp and /run are hidden.
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /run/lock/lvm /run/lvm /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
for folder in archive backup; do
  mkdir -p /etc/lvm/$folder && mount -t tmpfs lvm /etc/lvm/$folder
done
cp /out/lvm.conf /etc/lvm/lvm.conf
rm -rf /etc/cowherd /var/lib/cowherd

hostname lab
ip link set lo up
if ip link set eth0 up 2>/dev/null; then ip addr add 10.0.2.15/24 dev eth0; fi
modprobe -a dm-mod dm-thin-pool dm-snapshot loop

echo LAB-GUEST-UP
cd /out && /usr/sbin/lab guest $LAB_VERB </dev/null
echo $? > /out/exit
echo LAB-GUEST-DOWN
# No sync: it waits for ever behind a pool that queues its writes, and /out has
# no cache to lose.
echo o > /proc/sysrq-trigger
while :; do sleep 60; done
