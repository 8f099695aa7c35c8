#!/bin/sh
# /init of the initramfs: loads modules, lays a writable overlay over the shared
# root, makes it usable for LVM without udev or systemd, and goes on there with
# guest-init.sh. As much as possible is done here, because busybox needs no file
# of the shared root: there every program costs a tenth of a second and more.
export PATH=/bin
mkdir -p /proc /sys /dev /low /up /new
mount -t proc proc /proc
mount -t sysfs sys /sys
# Before anything is spawned: programs started without it have no /dev/null.
mount -t devtmpfs dev /dev
if [ -n "$lab_probe" ]; then
  echo LAB-PROBE
  echo o > /proc/sysrq-trigger
  while :; do :; done
fi
for module in /modules/*; do insmod "$module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /low
mount -t tmpfs up /up
mkdir /up/upper /up/work
mount -t overlay -o lowerdir=/low,upperdir=/up/upper,workdir=/up/work root /new
mkdir -p /new/out
# No cache: the host reads verdicts while the guest runs.
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none out /new/out
. /new/out/env

# The binaries into the overlay, off 9p: a page fault must not wait for the host.
for program in lab cowherd; do
  if [ -f /new/out/$program ]; then
    rm -f /new/usr/sbin/$program
    cp /new/out/$program /new/usr/sbin/$program
    chmod 755 /new/usr/sbin/$program
  fi
done
mkdir -p /new/lib/modules
mount -o bind "/new$LAB_MODULES" /new/lib/modules
# From here on the host's /tmp and /run are hidden.
mount -t tmpfs run /new/run
mount -t tmpfs tmp /new/tmp
mkdir -p /new/run/lock/lvm /new/run/lvm /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
mkdir -p /new/etc/lvm/archive /new/etc/lvm/backup
mount -t tmpfs lvm /new/etc/lvm/archive
mount -t tmpfs lvm /new/etc/lvm/backup
cp /new/out/lvm.conf /new/etc/lvm/lvm.conf
rm -rf /new/etc/cowherd /new/var/lib/cowherd

hostname lab
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0

mount --move /proc /new/proc
mount --move /sys /new/sys
mount --move /dev /new/dev
exec switch_root /new /bin/bash /out/init
