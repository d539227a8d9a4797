#!/bin/sh
# Runs a command on the simulated machine; called inside fresh namespaces.
#   enter.sh FOLDER USER COMMAND...
# FOLDER holds lower/ (what /sys gets), powercap/ (one folder a control type), cpuinfo and,
# where another USER than root shall run Python, the file reach (paths to make reachable).
set -e
folder=$1
user=$2
shift 2
ip link set lo up 2>/dev/null || true
mount -t overlay overlay -o "lowerdir=$folder/lower:/sys" /sys
for control in "$folder"/powercap/*; do
    test -d "$control" || continue
    test -h "$control/name" && continue
    case ${control##*/} in
    *:*) ;;
    *) mount --bind "$control" "/sys/devices/virtual/powercap/${control##*/}" ;;
    esac
done
mount --bind "$folder/cpuinfo" /proc/cpuinfo
# Not with exec: a tool is not meant to be the first process of a system.
if test "$user" = root; then
    code=0
    "$@" || code=$?
    exit $code
fi
if test -s "$folder/reach"; then
    number=0
    while read -r closed path; do
        number=$((number + 1))
        mkdir -p "$folder/kept/$number"
        mount --bind "$path" "$folder/kept/$number"
    done <"$folder/reach"
    cut -d ' ' -f 1 "$folder/reach" | sort -u | while read -r closed; do
        mount -t tmpfs -o mode=755 tmpfs "$closed"
    done
    number=0
    while read -r closed path; do
        number=$((number + 1))
        mkdir -p "$path"
        mount --bind "$folder/kept/$number" "$path"
    done <"$folder/reach"
fi
code=0
setpriv --reuid "$user" --regid "$user" --clear-groups "$@" || code=$?
exit $code
