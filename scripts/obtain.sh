# Where source archives come from; sourced by the scripts that build what weft carries inside.
#
#   obtain NAME VERSION SHA256 FILE OVERRIDE URL POOL
#
# leaves the archive in FILE. It comes from the first of these that has it, and is used only if its SHA-256 is SHA256:
#   1. the file that OVERRIDE names, if it is not empty   (a machine without network)
#   2. URL, upstream's release download; "-" if upstream has none that is the same file for ever
#   3. the distribution's source archive, POOL/<file> below pool/<component>/, from the mirrors this machine is set up for
# 3 lets a machine build that reaches nothing but its own package mirror. Returns 1 when nobody has it.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    say "$*"
    exit 1
}

has_sum() { # file sha256
    [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$2" ]
}

from_upstream() { # url sha256 file
    [ "$1" != - ] || return 1
    if command -v curl >/dev/null; then
        curl -fsSL --connect-timeout 4 --speed-limit 1024 --speed-time 10 --max-time 300 -o "$3" "$1" 2>/dev/null || return 1
    elif command -v wget >/dev/null; then
        wget -q --tries=1 --connect-timeout=4 --read-timeout=10 -O "$3" "$1" 2>/dev/null || return 1
    else
        return 1
    fi
    has_sum "$3" "$2"
}

# The archive mirrors of this machine, from one-line and deb822 sources; mirror lists are opened.
apt_mirrors() {
    local uri
    {
        { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
            sed -nE 's/^[[:space:]]*deb(-src)?[[:space:]]+(\[[^]]*\][[:space:]]*)?([^[:space:]]+).*/\3/p'
        { cat /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } | sed -nE 's/^URIs:[[:space:]]*(.*)/\1/Ip' | tr -s ' \t' '\n\n'
    } | while read -r uri; do
        case $uri in
            mirror+file:*) sed -nE 's/^[[:space:]]*([a-z]+:[^[:space:]]+).*/\1/p' "${uri#mirror+file:}" 2>/dev/null || true ;;
            *) printf '%s\n' "$uri" ;;
        esac
    done | sed 's#/*$##' | awk 'NF && !seen[$0]++'
}

# The source index of a mirror knows where the archive lies, but is of no further use to us: the place follows from the
# package's name, and the pin, not the index, says whether the bytes are right. So a stale or absent index cannot hurt.
from_apt() { # pool sha256 file
    local helper=/usr/lib/apt/apt-helper mirror component
    [ -x $helper ] || return 1
    while read -r mirror; do
        for component in main universe; do
            if $helper -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10 -o Acquire::Retries=1 -o APT::Sandbox::User= \
                download-file "$mirror/pool/$component/$1" "$3" "SHA256:$2" >/dev/null 2>&1 &&
                has_sum "$3" "$2"; then
                return 0
            fi
            rm -f "$3"
        done
    done < <(apt_mirrors)
    return 1
}

obtain() { # name version sha256 file override url pool
    if [ -n "$5" ]; then
        has_sum "$5" "$3" || return 1
        cp -- "$5" "$4"
        return 0
    fi
    if from_upstream "$6" "$3" "$4" || from_apt "$7" "$3" "$4"; then
        say "$1 $2, SHA-256 as pinned"
        return 0
    fi
    rm -f "$4"
    return 1
}
