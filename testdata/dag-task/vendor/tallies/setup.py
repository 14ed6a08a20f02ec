from setuptools import setup

setup(
    name="tallies",
    version="1.2.0",
    description="Sums by key, exact for money",
    packages=["tallies"],
    python_requires=">=3.9",
)
