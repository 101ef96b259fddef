#: ends timeout
cd /home/agent
mkdir one two; echo x > one/file
while :; do mv one/file two/file; mv two/file one/file; done
