#!/bin/sh
# Follows a stream with curl: follow.sh URL TOKEN [OPTION]. Prints what arrives; when it is cut, returns
# with the last id of it.
received=$(mktemp)
trap 'rm -f "$received"' EXIT
while :; do
    last=$(sed -n 's/^id: //p' "$received" | tail -n 1)
    curl -sN ${3:-} -H "Authorization: Bearer $2" ${last:+-H "Last-Event-ID: $last"} "$1" |
        tee -a "$received"
    echo
    sleep 0.2
done
