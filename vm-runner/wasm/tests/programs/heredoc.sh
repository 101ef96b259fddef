name=World
cat <<EOF
Hello $name
$(echo sub) \$literal
EOF
cat <<'EOF'
$name stays
EOF
cat <<-EOF
	indented
	EOF
