"""`python -m hpedit` is the same as `hpedit`."""

from hpedit.cli import main

if __name__ == "__main__":
    main()
