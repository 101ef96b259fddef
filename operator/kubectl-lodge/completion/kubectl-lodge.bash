# Completes kubectl-lodge in bash 4 and later: with what the program itself offers.
#   source <(kubectl-lodge completion bash)
_kubectl_lodge() {
    local rest=${COMP_LINE:0:COMP_POINT} trimmed word index last kept added line
    local -a words=() lines=()
    # The words as the program will get them. Bash has split them also at ":" and "=": what stands directly after
    # something belongs to it.
    for ((index = 0; index <= COMP_CWORD; index++)); do
        trimmed=${rest#"${rest%%[![:space:]]*}"}
        word=${COMP_WORDS[index]}
        ((index < COMP_CWORD)) || word=$trimmed
        if ((${#words[@]})) && [[ $rest == "$trimmed" ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        rest=${trimmed#"$word"}
    done
    last=${words[${#words[@]} - 1]}
    mapfile -t lines < <("${words[0]}" __complete "${words[@]:1}" </dev/null 2>/dev/null)
    ((${#lines[@]})) || return 0
    # What bash takes for done is not offered again.
    kept= added=
    [[ $COMP_WORDBREAKS == *=* || $last != --*=* ]] || added=${last%%=*}=
    [[ $COMP_WORDBREAKS != *:* || $last != *:* ]] || kept=${last%"${last##*:}"}
    COMPREPLY=()
    for line in "${lines[@]:0:${#lines[@]}-1}"; do
        word=${line%%$'\t'*}
        COMPREPLY+=("$added$(printf %q "${word#"$kept"}")")
    done
    case ${lines[${#lines[@]} - 1]} in
        :0) compopt -o default ;;
        :6) compopt -o nospace ;;
    esac
}
complete -F _kubectl_lodge kubectl-lodge
