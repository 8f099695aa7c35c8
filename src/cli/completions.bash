
# Names of volumes, where a word may be one. They hold nothing that a shell would expand: lvm(8), VALID NAMES.
_cowherd_names() {
    local kind= current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    _cowherd "$@"
    [[ $current == "=" ]] && current= before=${COMP_WORDS[COMP_CWORD-1]}
    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    case ${COMP_WORDS[1]-}.${COMP_WORDS[2]-}.$before in
        snapshot.list.--origin) kind=volumes ;;
        snapshot.list.* | *.--size | *.--ttl | *.--name | *.--type | *.--tag) ;;
        *.--vg | *.--socket | *.--timeout | *.--wait | *.--idempotency-key) ;;
        snapshot.create.*) kind=volumes ;;
        snapshot.?*.*) ((COMP_CWORD > 2)) && kind=snapshots ;;
    esac
    if [[ -n $kind && $current != -* ]]; then
        COMPREPLY+=($(compgen -W "$(cowherd complete-names --kind $kind 2>/dev/null)" -- "$current"))
    fi
}
complete -F _cowherd_names -o bashdefault -o default cowherd
