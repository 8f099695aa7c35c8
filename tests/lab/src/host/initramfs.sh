#!/bin/sh
# /init of the initramfs: loads what reaches the shared root, lays a writable
# overlay over it, and goes on there with /out/init (guest-init.sh).
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
mount --move /dev /new/dev
mount --move /proc /new/proc
mount --move /sys /new/sys
exec switch_root /new /bin/bash /out/init
