"""`python -m jayul`."""

from jayul.app.cli import main

if __name__ == "__main__":
    main()
