mkdir d; for i in 1 2 3 4; do (sleep 0.0$i; echo part$i > d/$i) & done; wait; cat d/*; ls d | wc -l
