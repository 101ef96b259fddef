echo 'the quick brown fox jumps over the lazy dog and runs away from the wolf' | fmt -w 30; printf 'a\nb\n\nc\n' | fmt
