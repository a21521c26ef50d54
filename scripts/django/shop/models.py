"""Models whose names in the database are, and are not, those that Django gives."""

import uuid

from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=255)
    email = models.EmailField()
    vip = models.BooleanField(default=False)
    note = models.TextField(null=True)

    @property
    def greeting(self):
        return "Dear " + self.name

    def __str__(self):
        return self.name


class VipCustomer(Customer):
    class Meta:
        proxy = True


class Tag(models.Model):
    name = models.CharField(max_length=20)


class Product(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=255)
    price = models.DecimalField(max_digits=12, decimal_places=2, db_column="price_eur")
    weight = models.FloatField(null=True)
    details = models.JSONField(default=dict)
    since = models.DateField(null=True)
    added = models.DateTimeField(null=True)
    tags = models.ManyToManyField(Tag)

    class Meta:
        db_table = "stock_item"


class Sale(models.Model):
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)
    product = models.ForeignKey(Product, on_delete=models.CASCADE, db_column="item")
    recommended_by = models.ForeignKey(Customer, on_delete=models.SET_NULL, null=True, related_name="recommendations", db_column="ref")
    quantity = models.IntegerField()


class Profile(models.Model):
    customer = models.OneToOneField(Customer, on_delete=models.CASCADE)
    motto = models.CharField(max_length=100)


class Document(models.Model):
    title = models.CharField(max_length=100, db_column="heading")


class Invoice(Document):
    sale = models.ForeignKey(Sale, on_delete=models.DO_NOTHING, db_constraint=False)
    total = models.IntegerField()
