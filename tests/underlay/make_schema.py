"""Make Neutron's tables from its models, for its migrations are MySQL's: ``make_schema.py DATABASE_URL``."""

import importlib
import sys


def main() -> None:
    head = importlib.import_module("neutron.db.migration.models.head")
    engine = importlib.import_module("sqlalchemy").create_engine(sys.argv[1])
    head.get_metadata().create_all(engine)


if __name__ == "__main__":
    main()
