sh -c 'a=$$; exec sh -c "[ $a = \$\$ ] && echo same pid"'
