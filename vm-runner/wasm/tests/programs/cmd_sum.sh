printf 'lodge\n' > f; sum f; sum -s f; sum < f
