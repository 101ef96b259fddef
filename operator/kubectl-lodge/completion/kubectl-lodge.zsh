#compdef kubectl-lodge
# Completes kubectl-lodge in zsh: with what the program itself offers. As a file named _kubectl-lodge in a folder of fpath, or
#   source <(kubectl-lodge completion zsh)
_kubectl-lodge() {
    local -a lines described
    local line word directive space=' '
    lines=("${(@f)$("${(Q)words[1]}" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" </dev/null 2>/dev/null)}")
    directive=$lines[-1]
    lines[-1]=()
    # The value of --OPTION=VALUE.
    [[ $PREFIX != -*=* ]] || compset -P '*='
    if [[ $directive == :0 ]]; then
        _files
        return
    fi
    [[ $directive != :6 ]] || space=
    for line in $lines; do
        word=${${line%%$'\t'*}//:/\\:}
        if [[ $line == *$'\t'* ]]; then
            described+=("$word:${line#*$'\t'}")
        else
            described+=("$word")
        fi
    done
    _describe -t kubectl-lodge 'kubectl lodge' described -S "$space"
}
if [[ $funcstack[1] == _kubectl-lodge ]]; then
    _kubectl-lodge "$@"
else
    compdef _kubectl-lodge kubectl-lodge
fi
