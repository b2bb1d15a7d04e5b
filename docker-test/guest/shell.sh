python3 /app/machine.py graceful
exit $?
