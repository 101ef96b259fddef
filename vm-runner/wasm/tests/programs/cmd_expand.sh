printf 'a\tb\n\tc\n' | expand; printf 'a\tb\n' | expand -t 4; printf '\ta\tb\n' | expand -i
