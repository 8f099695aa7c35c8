#!/bin/bash
# PID 1 of the guest, after the initramfs: runs one verb of the lab and powers
# off. bash, because as PID 1 it reaps whatever orphans it is given.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LC_ALL=C
. /out/env
cd /out
echo LAB-GUEST-UP
/usr/sbin/lab guest $LAB_VERB </dev/null
echo $? > /out/exit
echo LAB-GUEST-DOWN
# No sync: it waits for ever behind a pool that queues its writes, and /out has
# no cache to lose.
echo o > /proc/sysrq-trigger
while :; do sleep 60; done
