"""Small files of the shapes in which well-known public data are handed out; the values are made up."""

import random
from pathlib import Path

ROWS = 90


def write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def rows(cells, count=ROWS, separator=",", end="\n", first=0):
    """``count`` lines of ``cells(k, random)``."""
    dice = random.Random(0)
    return "".join(separator.join(map(str, cells(k, dice))) + end for k in range(first, first + count))


def titanic(folder: Path) -> Path:
    """Kaggle's pair: the file to predict lacks the target, and an example shows how answers are handed in."""

    def person(target):
        def cells(k, dice):
            died = [dice.randint(0, 1)] if target else []
            name = f'"Braund, Mr. Owen {k}"'
            return [
                k,
                *died,
                dice.randint(1, 3),
                name,
                dice.choice(("male", "female")),
                dice.choice(("", 22, 38.5)),
            ]

        return cells

    write(folder, "train.csv", "PassengerId,Survived,Pclass,Name,Sex,Age\n" + rows(person(True)))
    write(folder, "test.csv", "PassengerId,Pclass,Name,Sex,Age\n" + rows(person(False), 30, first=ROWS))
    answers = rows(lambda k, dice: (k, dice.randint(0, 1)), 30, first=ROWS)
    write(folder, "gender_submission.csv", "PassengerId,Survived\n" + answers)
    return folder


def houses(folder: Path) -> Path:
    def house(target):
        def cells(k, dice):
            price = [dice.randint(50, 500) * 1000 + k] if target else []
            return [k, dice.choice((20, 60)), dice.choice(("NA", 65, 80)), dice.randint(1900, 2010), *price]

        return cells

    head = "Id,MSSubClass,LotFrontage,YearBuilt"
    write(folder, "train.csv", f"{head},SalePrice\n" + rows(house(True)))
    write(folder, "test.csv", f"{head}\n" + rows(house(False), 30, first=ROWS))
    write(
        folder, "sample_submission.csv", "Id,SalePrice\n" + rows(lambda k, _: (k, 169277.5), 30, first=ROWS)
    )
    write(folder, "data_description.txt", "MSSubClass: the type of dwelling\n")
    return folder


def bikes(folder: Path) -> Path:
    """The file to predict lacks two further columns that sum up to the target."""

    def hire(whole):
        def cells(k, dice):
            guests, members = dice.randint(0, 50), dice.randint(0, 200)
            counts = [guests, members, guests + members] if whole else []
            return [
                f"2011-01-{1 + k % 28:02d} {k % 24:02d}:00:00",
                dice.randint(1, 4),
                f"{dice.uniform(0, 40):.2f}",
                *counts,
            ]

        return cells

    write(folder, "train.csv", "datetime,season,temp,casual,registered,count\n" + rows(hire(True)))
    write(folder, "test.csv", "datetime,season,temp\n" + rows(hire(False), 30))
    return folder


def adult(folder: Path) -> Path:
    """UCI's files without a header; the held-out one has a line above, and a point behind each label."""

    def person(end):
        def cells(k, dice):
            work = dice.choice(("State-gov", "Private", "?"))
            return [
                dice.randint(17, 80),
                work,
                dice.choice(("Male", "Female")),
                dice.choice(("<=50K", ">50K")) + end,
            ]

        return cells

    write(folder, "adult.data", rows(person(""), separator=", ") + "\n")
    write(folder, "adult.test", "|1x3 Cross validator\n" + rows(person("."), 40, ", ") + "\n")
    names = "| This data was extracted from a census\n>50K, <=50K.\n\nage: continuous.\nworkclass: Private, State-gov.\n"
    write(folder, "adult.names", names)
    return folder


def wine(folder: Path) -> Path:
    def cells(k, dice):
        return [f"{dice.uniform(4, 12):.1f}", f"{dice.uniform(8, 14):.1f}", dice.randint(4, 7)]

    return write(
        folder, "winequality-red.csv", '"fixed acidity";"alcohol";"quality"\n' + rows(cells, separator=";")
    )


def messages(folder: Path) -> Path:
    """Label, tab, text; no header, no ending, quotation marks that mean nothing, and Latin-1."""
    words = "free win call now prize ok see you later lar joking oni go until jurong point crazy".split()  # noqa: SIM905  # a sentence reads better than a list

    def cells(k, dice):
        return [
            dice.choice(("ham", "spam")),
            f"{' '.join(dice.sample(words, 6))} {chr(34) * (k % 2)}\u00a3{k}",
        ]

    return write(folder, "SMSSpamCollection", rows(cells, separator="\t"), "latin-1")


def ratings(folder: Path) -> Path:
    def cells(k, dice):
        return [dice.randint(1, 50), dice.randint(1, 90), dice.randint(1, 5), 978300760 + k]

    write(
        folder,
        "movies.dat",
        rows(lambda k, _: (k, f"Toy Story, The ({1990 + k % 9})", "Comedy|Drama"), separator="::"),
    )
    return write(folder, "ratings.dat", rows(cells, separator="::"))


def connections(folder: Path) -> Path:
    """Without a header, and with a comma at the end of each line."""

    def cells(k, dice):
        kind = dice.choice(("normal", "neptune"))
        return [
            0,
            dice.choice(("tcp", "udp")),
            dice.choice(("http", "private")),
            dice.randint(0, 900),
            0,
            kind,
        ]

    return write(folder, "KDDTrain+.txt", rows(cells, end=",\n"))


def plant(folder: Path) -> Path:
    """German: semicolons, decimal commas, a row of units, Windows-1252."""

    def cells(k, dice):
        measured = (
            f"{dice.uniform(10, 90):.1f}",
            f"{dice.uniform(1, 3):.3f}",
            f"{dice.uniform(1000, 3000):,.2f}",
        )
        german = [one.translate(str.maketrans(".,", ",.")) for one in measured]
        return [f"{1 + k % 28:02d}.03.2024 {k % 24:02d}:00", *german, dice.choice(("gut", "schlecht"))]

    head = "Zeit;Temperatur;Druck;Durchfluss;Zustand\n;°C;bar;m³/h;\n"
    return write(folder, "messung.csv", head + rows(cells, separator=";"), "cp1252")


def world(folder: Path) -> Path:
    """The World Bank's: lines of another table above the header, and a comma at the end of each line."""

    def cells(k, dice):
        years = [f'"{dice.uniform(1e9, 1e11):.3f}"' if dice.random() > 0.2 else '""' for _ in range(5)]
        return [f'"Land {k}"', f'"L{k:02d}"', '"GDP (current US$)"', *years, f'"{k + 0.5}"']

    head = '"Data Source","World Development Indicators",\n\n"Last Updated Date","2024-05-30",\n\n'
    head += (
        '"Country Name","Country Code","Indicator Name",'
        + ",".join(f'"{year}"' for year in range(1960, 1966))
        + ",\n"
    )
    return write(folder, "API_GDP.csv", head + rows(cells, end=",\n"))


def form(folder: Path) -> Path:
    """An export of Google Forms: questions as names, times with a zone, cells of several lines."""

    def cells(k, dice):
        time = f'"2024/03/{1 + k % 28:02d} {1 + k % 12}:15:30 {"AP"[k % 2]}M GMT{"+1" if k % 2 else "+2"}"'
        answer = '"Fine, thank you\nbye"' if k % 4 == 0 else '""'
        tools = f'"Excel;Python{";R" if k % 3 else ""}"'
        return [time, f'"{dice.randint(18, 60)}"', tools, answer, f'"{dice.choice(("Yes", "No", "Maybe"))}"']

    head = (
        '"Timestamp","How old are you?","Which tools? (select all)","Comments?","Would you recommend us?"\n'
    )
    return write(folder, "responses.csv", head + rows(cells))


def report(folder: Path) -> Path:
    """A workbook with a page about it, and a sheet with a merged title above the table and units below its header."""
    import openpyxl

    dice = random.Random(0)
    book = openpyxl.Workbook()
    about = book.active
    about.title = "About"
    about["A1"] = "What this workbook holds"
    sheet = book.create_sheet("Sales")
    sheet["A1"] = "Sales report 2024"
    sheet.merge_cells("A1:E1")
    sheet["A2"] = "Prepared by J. Doe"
    for column, (name, unit) in enumerate(
        (("region", None), ("mass", "kg"), ("price", "EUR"), ("status", None)), 2
    ):
        sheet.cell(4, column, name)
        sheet.cell(5, column, unit)
    for k in range(ROWS):
        cells = (
            dice.choice("NS"),
            dice.randint(1, 90),
            round(dice.uniform(1, 50), 2),
            dice.choice(("won", "lost")),
        )
        for column, cell in enumerate(cells, 2):
            sheet.cell(6 + k, column, cell)
    folder.mkdir(parents=True, exist_ok=True)
    book.save(folder / "report.xlsx")
    return folder / "report.xlsx"
