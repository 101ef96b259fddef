for n in ada bob; do cat > $n.conf <<E
user=$n
home=/home/$n
id=$(( ${#n} * 100 ))
E
done; cat ada.conf; diff ada.conf bob.conf | grep -c '^[<>]'; sed -n 's/^home=//p' *.conf
