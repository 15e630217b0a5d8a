"""Tables in the form their publishers give them, built here in miniature."""

import zipfile

import numpy as np
import pytest

from trilemma.core.errors import BadInput
from trilemma.data import (
    BankChurners,
    Cryptojacker,
    Insurance,
    Raw,
    SocialHoneypot,
    TwitterSpamURL,
    load,
)

CHURNERS_HEADER = (
    "CLIENTNUM,Attrition_Flag,Customer_Age,Gender,Dependent_count,Education_Level,Marital_Status,"
    "Income_Category,Card_Category,Months_on_book,Total_Relationship_Count,Months_Inactive_12_mon,"
    "Contacts_Count_12_mon,Credit_Limit,Total_Revolving_Bal,Avg_Open_To_Buy,Total_Amt_Chng_Q4_Q1,"
    "Total_Trans_Amt,Total_Trans_Ct,Total_Ct_Chng_Q4_Q1,Avg_Utilization_Ratio,"
    "Naive_Bayes_Classifier_Attrition_Flag_1,Naive_Bayes_Classifier_Attrition_Flag_2"
)


def security_text(rows, width, seed=0):
    values = np.random.default_rng(seed).integers(0, 9, (rows, width)).astype(float)
    values[:, 0] = np.arange(rows) % 2
    return values, "\n".join(",".join(f"{v:.18e}" for v in row) for row in values) + "\n"


def insurance_text(rows):
    lines = ["age,sex,bmi,children,smoker,region,charges"]
    regions = ("southwest", "southeast", "northwest", "northeast")
    for number in range(rows):
        sex, smoker = ("female", "male")[number % 2], ("yes", "no")[number % 2]
        charges = 10_000 * (number + 1) + 0.5
        lines.append(f"{20 + number},{sex},27.9,{number},{smoker},{regions[number % 4]},{charges}")
    return "\n".join(lines) + "\n"


def test_security_csv_has_the_label_first_and_no_header(nowhere):
    train, text = security_text(6, 8)
    (nowhere / "cryptojacker.train.csv").write_text(text)
    test, text = security_text(4, 8, seed=1)
    (nowhere / "cryptojacker.test.csv").write_text(text)
    loaded = load(Cryptojacker(scaling=Raw()))
    np.testing.assert_array_equal(loaded.x[:], np.concatenate([train, test])[:, 1:])
    assert loaded.y.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    assert loaded.part.tolist() == [0] * 6 + [1] * 4
    assert loaded.feature_names[0] == "websocket"
    assert loaded.class_names == ("benign", "malicious")
    assert loaded.info.deviation == "6 of 2,800 training and 4 of 1,200 test rows"


def test_security_csv_is_read_from_its_zip(nowhere):
    parts = []
    for part, rows in (("train", 5), ("test", 3)):
        values, text = security_text(rows, 16, seed=rows)
        parts.append(values)
        with zipfile.ZipFile(nowhere / f"social_honeypot.{part}.csv.zip", "w") as archive:
            archive.writestr("__MACOSX/._social_honeypot.csv", "resource fork")
            archive.writestr(f"social_honeypot.{part}.csv", text)
    loaded = load(SocialHoneypot(scaling=Raw()))
    np.testing.assert_array_equal(loaded.x[:], np.concatenate(parts)[:, 1:])


def test_the_spam_url_test_file_has_no_official_parts(nowhere):
    values, text = security_text(7, 26)
    (nowhere / "unnormalized_twitter_spam.test.csv").write_text(text)
    loaded = load(TwitterSpamURL(scaling=Raw()))
    np.testing.assert_array_equal(loaded.x[:], values[:, 1:])
    assert loaded.part is None
    assert "only the official test file" in loaded.info.deviation


@pytest.mark.parametrize("text", ["1,2\n", "a,b,c,d,e,f,g,h\n", ""])
def test_a_csv_of_another_width_or_of_text_is_refused(nowhere, text):
    (nowhere / "cryptojacker.train.csv").write_text(text)
    (nowhere / "cryptojacker.test.csv").write_text(security_text(4, 8)[1])
    with pytest.raises(BadInput, match="is not a CSV table of 8 numbers a row"):
        load(Cryptojacker())


def test_kaggles_bank_churners(nowhere):
    middle = "Graduate,Single,$60K - $80K,Blue,39,5,1,3,12691.0,777,11914.0,1.335,1144,42,1.625"
    lines = [
        CHURNERS_HEADER,
        f"768805383,Existing Customer,45,M,3,{middle},0.061,9e-05,0.99991",
        f"818770008,Attrited Customer,49,F,5,{middle.replace('Graduate', 'Doctorate')},0.105,1,0",
    ]
    (nowhere / "BankChurners.csv").write_text("\n".join(lines) + "\n")
    loaded = load(BankChurners(scaling=Raw()))
    assert loaded.x.shape == (2, 19)
    assert loaded.y.tolist() == [0, 1]
    assert loaded.feature_names[:3] == ("Customer_Age", "Gender", "Dependent_count")
    assert loaded.x[:,].tolist()[0][:4] == [45, 1, 3, 1]
    assert loaded.x[1].tolist()[:4] == [49, 0, 5, 0]
    assert not any("Naive" in name or "CLIENT" in name for name in loaded.feature_names)


def test_the_published_insurance_csv(nowhere):
    (nowhere / "insurance.csv").write_text(insurance_text(4))
    loaded = load(Insurance(scaling=Raw()))
    assert loaded.feature_names == (
        *("age", "sex", "bmi", "children", "smoker"),
        *("region_northwest", "region_southeast", "region_southwest"),
    )
    assert loaded.y.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(loaded.x[0], [20, 0, 27.9, 0, 1, 0, 0, 1], rtol=1e-6)
    np.testing.assert_array_equal(loaded.x[3][-3:], 0)
    assert load(Insurance(threshold=15_000.0)).y.tolist() == [0, 1, 1, 1]


def test_missing_columns_are_named(nowhere):
    (nowhere / "insurance.csv").write_text("age,sex\n1,male\n")
    with pytest.raises(BadInput, match="lacks the columns bmi, children, smoker, region, charges"):
        load(Insurance())


def test_columns_are_scaled_to_the_unit_range_by_default(nowhere):
    (nowhere / "insurance.csv").write_text(insurance_text(4))
    loaded = load(Insurance())
    assert loaded.x[:].min() == 0
    assert loaded.x[:].max() == 1
    assert any("scaled to [0, 1]" in note for note in loaded.info.notes)
