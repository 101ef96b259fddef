# Completes kubectl-lodge in fish: with what the program itself offers.
#   kubectl-lodge completion fish | source
function __kubectl_lodge_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    set -l lines ($words[1] __complete $words[2..] "$last" </dev/null 2>/dev/null)
    test (count $lines) -gt 0; or return
    set -l directive $lines[-1]
    set -e lines[-1]
    # The value of --OPTION=VALUE.
    set -l before (string match -r -- '^-[^=]*=' "$last")
    set -l after (string replace -r -- '^-[^=]*=' '' "$last")
    if test "$directive" = :0
        set lines (__fish_complete_path "$after")
    end
    for line in $lines
        echo -- "$before$line"
    end
end
complete -c kubectl-lodge -e
complete -c kubectl-lodge -f -a '(__kubectl_lodge_complete)'
