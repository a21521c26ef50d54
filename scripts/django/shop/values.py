"""What triggers name in headers and parameters."""

LABEL = "from the shop"


def token():
    return "s3cret"
