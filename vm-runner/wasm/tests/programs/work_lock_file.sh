(set -C; echo $$ > lock) 2>/dev/null && echo got; (set -C; echo $$ > lock) 2>/dev/null || echo busy; rm lock; mkdir lockdir && echo got; mkdir lockdir 2>/dev/null || echo busy
