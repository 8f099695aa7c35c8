# Names of volumes.
_cowherd_snapshots() {
    local -a names
    names=(${(f)"$(cowherd complete-names --kind snapshots 2>/dev/null)"})
    compadd -a names
}
_cowherd_volumes() {
    local -a names
    names=(${(f)"$(cowherd complete-names --kind volumes 2>/dev/null)"})
    compadd -a names
}

