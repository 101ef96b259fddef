sh -c 'sh -c "sh -c \"echo deep\""'; bash -c 'echo bash'; echo 'echo from stdin' | sh; echo 'echo $1' > s.sh; sh s.sh arg; . ./s.sh sourced
