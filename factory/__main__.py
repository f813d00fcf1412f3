"""`python -m factory`."""

from factory.cli.app import app

if __name__ == "__main__":
    app()
